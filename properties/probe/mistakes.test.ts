/** Each mistake that a subject can make gets the sentence that names it, and no other. */
import { expect, test } from 'vitest';
import { IsobatchError } from '../../contract/errors.ts';
import type { DecodeResult, SubjectContext } from '../../contract/subject.ts';
import { engineSubject } from '../../engine/subject.ts';
import type { Entry } from '../../oracle/entries.ts';
import type { Call, Case, Script } from '../types.ts';
import { probeFailure } from './failure.ts';
import { type Load, probeStory } from './story.ts';
import { LLAMA, type Mistake, mistaken, modelOf, oracleLoad, reordered, type Twist } from './testing.ts';

const engine = engineSubject();

/** Tokens of the sequences in this order; the tokens themselves do not matter to a probe. */
function decode(...seqs: (number | readonly number[])[]): Call {
  const seq_id = seqs.map((ids) => (typeof ids === 'number' ? [ids] : ids));
  return { op: 'decode', batch: { token: seqs.map(() => 5), seq_id } };
}

function script(...calls: Call[]): Script {
  return { params: { n_ctx: 32, n_batch: 32, n_ubatch: 4, n_seq_max: 4, split: 'equal' }, calls };
}

/** Sentences about a script on our engine with a mistake. */
async function told(memory: 'attention' | 'recurrent', s: Script, mistake: Mistake) {
  return (await probeStory(mistaken(engine, mistake), s, modelOf(memory))).sentences;
}

/** Sentences about a script on the oracle with a mistake. */
async function toldOracle(s: Script, twist: Twist) {
  return (await probeStory(oracleLoad(twist), s, LLAMA)).sentences;
}

/** The context's `decode`, its batches changed on the way: call number k. */
function changed(
  context: SubjectContext,
  change: (seq_id: readonly number[], k: number) => readonly number[],
) {
  let k = 0;
  return {
    decode: async (batch: Parameters<SubjectContext['decode']>[0]): Promise<DecodeResult> => {
      const seq_id = batch.seq_id!.map((ids) => change(ids, k));
      k++;
      return await context.decode({ ...batch, seq_id });
    },
  };
}

/** An entry that sees something else; itself stays last. */
function seeing(entry: Entry, saw: readonly Entry[]): Entry {
  const list = [...saw];
  const twisted = { ...entry, saw: list };
  list.push(twisted);
  return twisted;
}
const others = (entry: Entry) => entry.saw.slice(0, -1);

test('output rows that are mixed up', async () => {
  const swap: Mistake = (context, n_vocab) => ({
    decode: async (batch) => reordered(await context.decode(batch), [0, 2, 1], n_vocab),
  });
  const s = script(decode(0, 0, 1));
  for (const memory of ['attention', 'recurrent'] as const)
    expect(await told(memory, s, swap)).toEqual([
      'row of 0@1 is the answer of 1@0 (output rows are mixed up)',
      'row of 1@0 is the answer of 0@1 (output rows are mixed up)',
    ]);
});

test('a row that is never written, and one that is left over from an earlier call', async () => {
  let last: Float32Array | undefined;
  const stale: Mistake = (context, n_vocab) => ({
    decode: async (batch) => {
      const { n_outputs, logits } = await context.decode(batch);
      const copy = logits.slice();
      copy.set(last?.subarray(0, n_vocab) ?? new Float32Array(n_vocab), n_vocab);
      last = copy;
      return { n_outputs, logits: copy };
    },
  });
  const sentences = await told('attention', script(decode(0, 0), decode(0, 0)), stale);
  expect(sentences).toEqual([
    'row of 0@1 was never written (all its logits are 0)',
    'row of 0@3 is the answer of 0@0, left over from call 0 (output rows are mixed up)',
  ]);
});

test('sequences that are swapped in the second call', async () => {
  const s = script(decode(0, 0, 1, 1), decode(0, 1));
  const swap: Mistake = (context) => changed(context, ([id], k) => [k === 0 ? id! : 1 - id!]);
  expect(await told('attention', s, swap)).toEqual([
    'query 0@2: did not see 0@0 0@1; saw 1@0 1@1, which it must not',
    'query 1@2: did not see 1@0 1@1; saw 0@0 0@1, which it must not',
  ]);
  const [first, second] = await told('recurrent', s, swap);
  expect(first).toMatch(
    /^query 0@2: state holds 1@0 1@1, which it must not; ages 2 1; state lacks 0@0 0@1; convolution holds 1@0 1@1 at lags 2 1, which it must not; convolution lacks 0@0 0@1 at lags 2 1$/,
  );
  expect(second).toMatch(/^query 1@2: state holds 0@0 0@1, which it must not; ages 2 1; state lacks 1@0 1@1/);
});

test('a removal that does not happen', async () => {
  const drop: Mistake = () => ({ seqRm: async () => undefined });
  const suffix = script(decode(0, 0, 0), { op: 'seqRm', seq: 0, p0: 2, p1: -1 }, decode(0, 0));
  expect(await told('attention', suffix, drop)).toEqual([
    'query 0@2 of call 2: saw 0@2 of call 0 (removed), which it must not',
    'query 0@3: saw 0@2 of call 0 (removed), which it must not',
  ]);
  const whole = script(decode(0, 0, 0), { op: 'seqRm', seq: 0, p0: 0, p1: -1 }, decode(0));
  const [sentence] = await told('recurrent', whole, drop);
  expect(sentence).toMatch(
    /^query 0@0 of call 2: state holds 0@0 of call 0 0@1 0@2 \(removed\), which it must not; ages 3 2 1; convolution holds .* at lags 3 2 1, which it must not$/,
  );
});

test('a key that is lost, a key that comes later, a key of another sequence', async () => {
  const s = script(decode(0, 0, 0, 1));
  const lost = (entry: Entry, i: number) => (i === 2 ? seeing(entry, others(entry).slice(1)) : entry);
  expect(await toldOracle(s, lost)).toEqual(['query 0@2: did not see 0@0']);
  const later: Twist = (entry, i, all) =>
    i === 1 ? seeing(entry, [...others(entry), seeing(all[2]!, [])]) : entry;
  expect(await toldOracle(s, later)).toEqual(['query 0@1: saw 0@2 (later), which it must not']);
  const leak: Twist = (entry, i, all) => (i === 3 ? seeing(entry, [seeing(all[0]!, [])]) : entry);
  expect(await toldOracle(s, leak)).toEqual(['query 1@0: saw 0@0, which it must not']);
});

test('a key that is seen twice', async () => {
  const twice: Twist = (entry, i) => (i === 2 ? seeing(entry, [others(entry)[0]!, ...others(entry)]) : entry);
  expect(await toldOracle(script(decode(0, 0, 0)), twice)).toEqual(['query 0@2: saw 0@0 twice']);
});

test('cells without content, weights that do not add up', async () => {
  const frame = { 'probe:llama-set': 64 } as Readonly<Record<string, number>>;
  /** Scales what attention has written, and its mass, by `by`: region and mass lie behind the code. */
  const scaled = (by: number): Load => {
    return async (bytes, name) => {
      const n_embd = frame[name];
      const mistake: Mistake = (context, n_vocab) => ({
        decode: async (batch) => {
          const { n_outputs, logits } = await context.decode(batch);
          const copy = logits.slice();
          if (n_embd !== undefined)
            for (let d = 31; d <= 62; d++) copy[(n_outputs - 1) * n_vocab + n_vocab - n_embd + d]! *= by;
          return { n_outputs, logits: copy };
        },
      });
      return mistaken(engine, mistake)(bytes, name);
    };
  };
  const s = script(decode(0, 0));
  const say = async (by: number) => (await probeStory(scaled(by), s, LLAMA)).sentences;
  expect(await say(2 / 3)).toEqual(['query 0@1: saw a cell without content']);
  expect(await say(1 / 2)).toEqual(['query 0@1: saw 2 cells without content']);
  expect(await say(2)).toEqual(['query 0@1: the sum of its attention weights is 2.00, must be 1']);
  expect(await say(0)).toEqual(['query 0@1: saw nothing']);
});

test('positions that are applied wrongly: of a query, of a single key', async () => {
  const s = script(decode(0, 0, 0), decode(0, 0));
  const moved = (p: number, by: number): Twist => {
    return (entry) => {
      if (entry.pos !== p) return entry;
      const at = { ...entry, pos: p + by, pos_eval: p + by };
      return seeing(at, others(entry));
    };
  };
  expect(await toldOracle(s, moved(4, 1))).toEqual(['query 0@4: sees its keys one position too far']);
  expect(await toldOracle(s, moved(4, -2))).toEqual(['query 0@4: sees its keys 2 positions too near']);
  // A key keeps its wrong position for all that follow; itself sees the keys before it too far.
  expect(await toldOracle(s, moved(1, 3))).toEqual([
    'query 0@1: sees its keys 3 positions too far',
    'query 0@2: sees 0@1 at distance -2, must be 1',
    'query 0@3: sees 0@1 at distance -1, must be 2',
    'query 0@4: sees 0@1 at distance 0, must be 3',
  ]);
});

test('a refused batch that leaves something behind', async () => {
  let n = 0;
  const dirty: Mistake = (context) => ({
    decode: async (batch) => {
      if (n++ % 2 === 1) {
        await context.decode({ token: [batch.token[0]!], seq_id: [[0]] });
        throw new IsobatchError('batch.seq_id', 'an id that is not known');
      }
      return await context.decode(batch);
    },
  });
  const refused: Call = {
    op: 'decode',
    batch: { token: [1, 2], seq_id: [[0], [9]] },
    refused: 'batch.seq_id',
  };
  expect(await told('attention', script(decode(0), refused, decode(0)), dirty)).toEqual([
    'query 0@1: saw token 0 of the refused call 1, which it must not',
  ]);
});

test('a shared token that one of its sequences does not have', async () => {
  const alone: Mistake = (context) => changed(context, (ids) => (ids.length > 1 ? [ids[0]!] : ids));
  expect(await told('attention', script(decode([0, 2], [0, 2]), decode(0, 2)), alone)).toEqual([
    'query 2@2: did not see {0,2}@0 {0,2}@1',
  ]);
});

test('many wrong queries: six sentences of the first wrong call, and a count', async () => {
  const seqs = Array.from({ length: 9 }, () => 0);
  const s = script(decode(1, 0), decode(...seqs), decode(0));
  const gone: Mistake = (context) => ({
    decode: async (batch) => {
      if (batch.token.length === 9) await context.seqRm(0, 0, 1);
      return await context.decode(batch);
    },
  });
  const sentences = await told('attention', s, gone);
  expect(sentences).toHaveLength(7);
  expect(sentences.slice(0, 6).every((sentence) => /^query 0@[1-9]: did not see 0@0$/.test(sentence))).toBe(
    true,
  );
  expect(sentences[6]).toBe('and 4 more queries');
});

test('a state that only inherits its fault is counted, not told', async () => {
  const s = script(decode(1, 1), { op: 'seqRm', seq: 1, p0: 0, p1: -1 }, decode(1, 0, 1, 1, 0));
  const drop: Mistake = () => ({ seqRm: async () => undefined });
  const sentences = await told('recurrent', s, drop);
  expect(sentences[0]).toMatch(/^query 1@0 of call 2: state holds 1@0 of call 0 1@1 of call 0 \(removed\)/);
  expect(sentences.slice(1)).toEqual(['and 2 more queries']);
});

test('logits that are no numbers', async () => {
  const nan: Mistake = (context) => ({
    decode: async (batch) => {
      const { n_outputs, logits } = await context.decode(batch);
      const copy = logits.slice();
      copy[3] = Number.NaN;
      return { n_outputs, logits: copy };
    },
  });
  expect(await told('attention', script(decode(0)), nan)).toEqual([
    'on the probe, too, logits of token 0 of call 0 are not finite (NaN)',
  ]);
});

test('a legal batch that is refused because of what memory has kept', async () => {
  const removed = script(decode(0), { op: 'seqRm', seq: 0, p0: 0, p1: -1 }, decode(0));
  const batch = { token: [1], pos: [0], seq_id: [[0]] };
  const calls = removed.calls.map((call) => (call.op === 'decode' ? { ...call, batch } : call));
  const drop: Mistake = () => ({ seqRm: async () => undefined });
  const want = 'asked after call 1: the next token of sequence 0: saw 0@0 (removed), which it must not';
  for (const n_ctx of [1, 32])
    expect(await told('attention', { params: { ...removed.params, n_ctx }, calls }, drop)).toEqual([want]);
});

test('what memory has kept though no query sees it', async () => {
  const drop: Mistake = () => ({ seqRm: async () => undefined });
  const s = script(decode(0, 0, 1), { op: 'seqRm', seq: 0, p0: 1, p1: -1 }, decode(1));
  expect(await told('attention', s, drop)).toEqual([
    'asked after call 2: the next token of sequence 0: saw 0@1 (removed), which it must not',
  ]);
});

test('what is compared with the sequence alone: the fault can lie there', async () => {
  // Wrong only where a context has one sequence: the second token does not see the first.
  const lonely: Load = async (bytes, name) => {
    const model = await engine.load(bytes, name);
    const lost = await oracleLoad((entry) => seeing(entry, []))(bytes, name);
    return { ...lost, open: (params) => (params.n_seq_max === 1 ? lost : model).open(params) };
  };
  const c: Case = {
    ...{ version: 1, property: 'solo', model: 'recipe:llama', seed: 's', index: 0 },
    script: script(decode(0, 0)),
    alone: [{ call: 0, index: 1, tokens: [5, 5] }],
  };
  expect(await probeFailure({ load: lonely, model: LLAMA, subject: engine.info }, c)).toEqual([
    'in the sequence alone, token by token: query 0@1: did not see 0@0',
  ]);
});

test('probeFailure never rejects, and looks at the other history too', async () => {
  const load = (bytes: Uint8Array, name: string) => engine.load(bytes, name);
  const good = script(decode(0, 0));
  const c: Case = { version: 1, property: 'share', model: 'recipe:llama', seed: 's', index: 0, script: good };
  const env = { load, model: LLAMA, subject: engine.info } as const;
  expect(await probeFailure(env, c)).toEqual([]);
  const { script: _, ...white } = c;
  expect(await probeFailure(env, white)).toEqual([]);
  expect(await probeFailure({ ...env, subject: { architectures: ['gpt2'], splits: {} } }, c)).toEqual([]);
  const dies = async () => Promise.reject(new IsobatchError('subject', 'died'));
  expect(await probeFailure({ ...env, load: dies }, c)).toEqual([]);
  const illegal = script({ op: 'decode', batch: { token: [1], seq_id: [[99]] } });
  expect(await probeFailure(env, { ...c, script: illegal })).toEqual([]);

  const three: Mistake = (context) => ({
    decode: async (batch) => {
      if (batch.token.length === 3) await context.decode({ token: [3], seq_id: [[0]] });
      return await context.decode({ token: batch.token, seq_id: batch.seq_id, logits: batch.logits });
    },
  });
  const sentences = await probeFailure(
    { ...env, load: mistaken(engine, three) },
    { ...c, base: script(decode(0, 0, 0)) },
  );
  expect(sentences).toEqual([
    'in the history that it is compared with: query 0@1: saw 0@0 twice',
    'in the history that it is compared with: query 0@2: saw 0@0 twice',
  ]);
});

test('more tokens than a probe can tell apart: no sentence, and a note', async () => {
  const long = script(decode(...Array.from({ length: 400 }, (_, i) => i % 4)));
  const params = { ...long.params, n_ctx: 400, n_batch: 400 };
  const story = await probeStory(oracleLoad(), { ...long, params }, LLAMA);
  expect(story).toMatchObject({
    sentences: [],
    rows: 0,
    note: 'the history has 400 tokens, a probe can tell 315 apart',
  });
  expect((await probeStory(oracleLoad(), long, { arch: 'bert', memory: 'none', n_layer: 1 })).note).toBe(
    'there is no probe for bert',
  );
});
