/** Checks of the conformance kit that need a model: shapes, order of rows, positions, refusals, operations. */
import { intField, modelInfoOf, objectField } from '../protocol.ts';
import { apart, type ContextKit, expect, expectEqual, Finding, type ModelKit, Skip } from './check-kit.ts';

export interface ModelCheck {
  readonly name: string;
  /** `path` is a file with the model. */
  run(m: ModelKit, path: string): Promise<void>;
}

const all = (n: number, value = true) => new Array<boolean>(n).fill(value);
const same = (n: number, seq: number) => Array.from({ length: n }, () => [seq]);

/** Each row is nearer to its partner than to any other row: the order is right, without a tolerance. */
function expectSameOrder(
  rows: readonly Float32Array[],
  partners: readonly Float32Array[],
  what: string,
): void {
  rows.forEach((row, i) => {
    const own = apart(row, partners[i]!);
    partners.forEach((other, j) => {
      if (j !== i && apart(row, other) < own) throw new Finding(`${what}: row ${i} is row ${j}`);
    });
  });
}

async function refusesAndStays(c: ContextKit, kind: string, batch: object): Promise<void> {
  const before = await c.positions(0);
  await c.refuses(kind, 'decode', { batch });
  expectEqual(await c.positions(0), before, `positions after a refusal with ${kind}`);
}

export const modelChecks: readonly ModelCheck[] = [
  {
    name: 'load from bytes and from a path give the same description',
    async run(m, path) {
      const { header } = await m.kit.call('load', { name: m.name, path });
      expectEqual(modelInfoOf(objectField(header, 'info')), m.info, 'info of the model');
      await m.kit.call('unload', { model: intField(header, 'model') });
      expect(
        m.kit.info!.architectures.includes(m.info.arch),
        `${m.info.arch} is not among info.architectures`,
      );
      expect(m.info.n_vocab > 1 && m.info.n_params > 0, 'n_vocab or n_params is not positive');
    },
  },
  {
    name: 'a model that is cut off is refused',
    async run(m) {
      const half = m.bytes.subarray(0, m.bytes.length >> 1);
      await m.kit.refuses(['gguf', 'model'], 'load', { name: 'half' }, half);
    },
  },
  {
    name: 'impossible parameters of a context are refused',
    async run(m) {
      const model = await m.model();
      for (const change of [{ n_ubatch: 0 }, { n_seq_max: 0 }, { n_ctx: -1 }])
        await m.kit.refuses(['params'], 'open', { model, params: m.params(change) });
    },
  },
  {
    name: 'every choice that it states can be opened',
    async run(m) {
      const { splits, isas, types_kv } = m.kit.info!;
      for (const split of splits[m.info.memory] ?? []) await (await m.open({ split })).close();
      for (const isa of isas) await (await m.open({ isa })).close();
      for (const type_kv of types_kv) await (await m.open({ type_kv })).close();
    },
  },
  {
    name: 'without flags only the last token is an output',
    async run(m) {
      const c = await m.open();
      await c.decode({ token: m.tokens(5) }, 1);
      await c.close();
    },
  },
  {
    name: 'flags choose rows, which come in the order of the batch',
    async run(m) {
      const [a, b] = [await m.open(), await m.open()];
      const token = m.tokens(7);
      const every = await a.decode({ token, logits: all(7) }, 7);
      const some = await b.decode({ token, logits: token.map((_, i) => i % 3 === 0) }, 3);
      expectSameOrder(some, [every[0]!, every[3]!, every[6]!], 'rows 0, 3 and 6');
      for (const c of [a, b]) await c.close();
    },
  },
  {
    name: 'rows of interleaved sequences come in the order of the batch',
    async run(m) {
      const [mixed, alone] = [await m.open(), await m.open()];
      const [first, second] = [m.tokens(3, 1), m.tokens(3, 2)];
      const token = first.flatMap((t, i) => [t, second[i]!]);
      const rows = await mixed.decode({ token, seq_id: token.map((_, i) => [i % 2]), logits: all(6) }, 6);
      const a = await alone.decode({ token: first, seq_id: same(3, 0), logits: all(3) }, 3);
      const b = await alone.decode({ token: second, seq_id: same(3, 1), logits: all(3) }, 3);
      expectSameOrder(
        rows,
        a.flatMap((row, i) => [row, b[i]!]),
        'interleaved rows',
      );
      for (const c of [mixed, alone]) await c.close();
    },
  },
  {
    name: 'a batch without outputs gives no rows',
    async run(m) {
      const c = await m.open();
      await c.decode({ token: m.tokens(3), logits: all(3, false) }, 0);
      await c.decode({ token: m.tokens(2) }, 1);
      await c.close();
    },
  },
  {
    name: 'positions count up, and -1 is an empty sequence',
    async run(m) {
      const c = await m.open();
      expectEqual(await c.positions(0), [-1, -1], 'positions of an empty sequence');
      await c.decode({ token: m.tokens(4) }, 1);
      expectEqual((await c.positions(0))[1], 3, 'largest position after 4 tokens');
      await c.decode({ token: m.tokens(2) }, 1);
      const [min, max] = await c.positions(0);
      expectEqual(max, 5, 'largest position after 4 and 2 tokens');
      // A recurrent state stands for its last position alone.
      expect(min === 0 || (m.recurrent && min === max), `smallest position is ${min}`);
      expectEqual(await c.positions(1), [-1, -1], 'positions of another sequence');
      await c.close();
    },
  },
  {
    name: 'illegal batches are refused by kind, and nothing changes',
    async run(m) {
      const c = await m.open();
      await c.decode({ token: m.tokens(3) }, 1);
      await refusesAndStays(c, 'batch.empty', { token: [] });
      await refusesAndStays(c, 'batch.size', { token: m.tokens(33) });
      await refusesAndStays(c, 'batch.size', { token: m.tokens(2), pos: [3] });
      await refusesAndStays(c, 'batch.token', { token: [m.info.n_vocab] });
      await refusesAndStays(c, 'batch.token', { token: [-1] });
      await refusesAndStays(c, 'batch.seq_id', { token: [1], seq_id: [[4]] });
      await refusesAndStays(c, 'batch.seq_id', { token: [1], seq_id: [[]] });
      await refusesAndStays(c, 'batch.position', { token: [1], pos: [7] });
      await refusesAndStays(c, 'batch.position', { token: [1], pos: [1] });
      await c.decode({ token: m.tokens(1) }, 1);
      expectEqual((await c.positions(0))[1], 3, 'largest position after all refusals and one more token');
      await c.close();
    },
  },
  {
    name: 'full memory is refused, and nothing changes',
    async run(m) {
      if (m.info.memory !== 'attention') throw new Skip(`memory of kind ${m.info.memory} does not fill up`);
      const c = await m.open({ n_ctx: 8, n_batch: 8 });
      await c.decode({ token: m.tokens(6) }, 1);
      await refusesAndStays(c, 'memory.full', { token: m.tokens(8) });
      await c.close();
    },
  },
  {
    name: 'a copy goes on like the original',
    async run(m) {
      const c = await m.open();
      await c.decode({ token: m.tokens(4) }, 1);
      await c.call('seqCp', { from: 0, to: 1, p0: -1, p1: -1 });
      expectEqual((await c.positions(1))[1], 3, 'largest position of the copy');
      const [row] = await c.decode({ token: [2], seq_id: [[0]] }, 1);
      const [twin] = await c.decode({ token: [2], seq_id: [[1]] }, 1);
      const [other] = await c.decode({ token: [3], seq_id: [[1]] }, 1);
      expect(apart(row!, twin!) <= apart(row!, other!), 'the copy says something else');
      await c.refuses('ops.copy', 'seqCp', { from: 0, to: 1, p0: -1, p1: -1 });
      await c.close();
    },
  },
  {
    name: 'removal, keep and clear',
    async run(m) {
      const c = await m.open();
      const fill = (seq: number) => c.decode({ token: m.tokens(4), seq_id: same(4, seq) }, 1);
      for (const seq of [0, 1, 2]) await fill(seq);
      await c.call('seqRm', { seq: 1, p0: -1, p1: -1 });
      expectEqual(await c.positions(1), [-1, -1], 'positions after the removal of all');
      await c.call('seqKeep', { seq: 2 });
      expectEqual(await c.positions(0), [-1, -1], 'positions of what was not kept');
      expectEqual((await c.positions(2))[1], 3, 'largest position of what was kept');
      await c.call('clear');
      expectEqual(await c.positions(2), [-1, -1], 'positions after clear');
      await fill(1);
      await c.refuses('ops.seq_id', 'seqRm', { seq: 99, p0: -1, p1: -1 });
      await c.close();
    },
  },
  {
    name: 'a suffix is removed, or refused by a state that cannot',
    async run(m) {
      const c = await m.open();
      await c.decode({ token: m.tokens(6) }, 1);
      const part = { seq: 0, p0: 4, p1: -1 };
      if (m.recurrent) await c.refuses('ops.partial', 'seqRm', part);
      else await c.call('seqRm', part);
      expectEqual((await c.positions(0))[1], m.recurrent ? 5 : 3, 'largest position afterwards');
      await c.close();
    },
  },
  {
    name: 'last tokens of kept states are taken back',
    async run(m) {
      if (!m.info.rollback || m.kit.info!.choices?.n_rs_seq === undefined)
        throw new Skip('it states that it keeps no states');
      const n_rs_seq = Math.max(...m.kit.info!.choices.n_rs_seq);
      const [n, back] = [n_rs_seq + 3, Math.min(2, n_rs_seq)];
      const c = await m.open({ n_rs_seq, n_ubatch: n });
      await c.decode({ token: m.tokens(n) }, 1);
      await c.call('seqRm', { seq: 0, p0: n - back, p1: -1 });
      expectEqual((await c.positions(0))[1], n - back - 1, 'largest position afterwards');
      const [row] = await c.decode({ token: [2] }, 1);
      await c.close();
      const fresh = await m.open({ n_ubatch: n });
      await fresh.decode({ token: m.tokens(n - back) }, 1);
      const [wanted] = await fresh.decode({ token: [2] }, 1);
      const [other] = await fresh.decode({ token: [2] }, 1);
      expect(apart(row!, wanted!) <= apart(wanted!, other!), 'what follows says something else');
      await fresh.close();
    },
  },
  {
    name: 'tokens that belong to two sequences are taken',
    async run(m) {
      if (!m.kit.info!.shared_tokens) throw new Skip('it states that it takes no shared tokens');
      const c = await m.open();
      await c.decode({ token: m.tokens(3), seq_id: Array.from({ length: 3 }, () => [0, 1]) }, 1);
      expectEqual([(await c.positions(0))[1], (await c.positions(1))[1]], [2, 2], 'largest positions');
      await c.close();
    },
  },
  {
    name: 'the same history gives the same bits again',
    async run(m) {
      const rows: Float32Array[] = [];
      for (let i = 0; i < 2; i++) {
        const c = await m.open();
        await c.decode({ token: m.tokens(5) }, 1);
        rows.push((await c.decode({ token: m.tokens(3, 5) }, 1))[0]!);
        await c.close();
      }
      const differ = rows[0]!.findIndex((value, i) => !Object.is(value, rows[1]![i]));
      expect(differ < 0, `logit ${differ}: ${rows[0]![differ]} and then ${rows[1]![differ]}`);
    },
  },
  {
    name: 'two contexts do not know each other',
    async run(m) {
      const [a, b] = [await m.open(), await m.open()];
      await a.decode({ token: m.tokens(4) }, 1);
      expectEqual(await b.positions(0), [-1, -1], 'positions in the other context');
      await b.close();
      await a.decode({ token: m.tokens(1) }, 1);
      await a.close();
    },
  },
  {
    name: 'large batches and answers travel whole',
    async run(m) {
      const n = 400;
      const c = await m.open({ n_ctx: 512, n_batch: 512, n_ubatch: 64 });
      const rows = await c.decode({ token: m.tokens(n), logits: all(n) }, n);
      const again = await m.open({ n_ctx: 512, n_batch: 512, n_ubatch: 64 });
      const [last] = await again.decode({ token: m.tokens(n) }, 1);
      expectSameOrder([last!], [rows[n - 1]!], 'the last row');
      for (const k of [c, again]) await k.close();
    },
  },
  {
    name: 'a closed context is gone, and a new one is empty',
    async run(m) {
      const c = await m.open();
      await c.decode({ token: m.tokens(3) }, 1);
      await c.close();
      await c.refuses('protocol', 'decode', { batch: { token: [1] } });
      const d = await m.open();
      expectEqual(await d.positions(0), [-1, -1], 'positions in a new context');
      await d.close();
    },
  },
  {
    name: 'an unloaded model takes its contexts along',
    async run(m) {
      const { header } = await m.kit.call('load', { name: m.name }, m.bytes);
      const model = intField(header, 'model');
      const opened = await m.kit.call('open', { model, params: m.params() });
      await m.kit.call('unload', { model });
      const context = intField(opened.header, 'context');
      await m.kit.refuses(['protocol'], 'decode', { context, batch: { token: [1] } });
      await m.kit.refuses(['protocol'], 'open', { model, params: m.params() });
    },
  },
];
