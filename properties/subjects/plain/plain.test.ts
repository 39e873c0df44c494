/**
 * The plain subject against the oracle, with which it shares nothing but the reader of files, on histories of every
 * operation; and its refusals. The distances allowed here only tell a wrong formula from roundings; the derived bound
 * is the business of the property `reference`.
 */
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { Batch } from '../../../contract/batch.ts';
import type { ContextParams } from '../../../contract/subject.ts';
import { buildRecipe, engineRecipes, recipeOf } from '../../../golden/recipes.ts';
import { loadModel } from '../../../model/load.ts';
import type { Hparams, HparamsOf, Model, Tensor } from '../../../model/types.ts';
import { completeBatch } from '../../../oracle/batch.ts';
import { type Entry, Sequences } from '../../../oracle/entries.ts';
import { logits } from '../../../oracle/forward.ts';
import { microLlama, microMamba } from '../../../oracle/testing.ts';
import { modelBytes } from '../../campaign-models.ts';
import { operations } from '../../operations.ts';
import { reference } from '../../reference.ts';
import { properties } from '../../registry.ts';
import { runScript } from '../../run-script.ts';
import { runCases } from '../../testing.ts';
import type { Script } from '../../types.ts';
import { checkSubject } from '../check.ts';
import { openSubject, specInWords, specOptions, subjectSpec } from '../registry.ts';
import type { PlainContext } from './context.ts';
import { plainEnv } from './power.ts';
import { plainModel, plainSubject } from './subject.ts';

const PARAMS: ContextParams = { n_ctx: 64, n_batch: 32, n_ubatch: 8, n_seq_max: 4, split: 'equal' };

const named = (name: string): Model => loadModel(modelBytes(name), name);
const float = (bits: Uint32Array): Float32Array =>
  new Float32Array(bits.buffer, bits.byteOffset, bits.length);

/** Entries of the output rows of a script, in order, by the oracle's lists. */
function outputEntries(script: Script, n_vocab: number): Entry[] {
  const { n_batch, n_seq_max } = script.params;
  const lists = new Sequences(n_seq_max);
  const out: Entry[] = [];
  for (const call of script.calls) {
    if (call.op === 'clear') lists.clear();
    else if (call.refused !== undefined) continue;
    else if (call.op === 'seqRm') lists.seqRm(call.seq, call.p0, call.p1);
    else if (call.op === 'seqCp') lists.seqCp(call.from, call.to, call.p0, call.p1);
    else if (call.op === 'seqKeep') lists.seqKeep(call.seq);
    else if (call.op === 'decode') {
      const batch = completeBatch(call.batch, lists, { n_vocab, n_batch, n_seq_max });
      out.push(...lists.decode(batch).filter((_, i) => batch.logits[i]));
    }
  }
  return out;
}

/** Largest difference to the oracle over all output rows, in units of their root mean square; and their number. */
async function distance(model: Model, script: Script): Promise<{ worst: number; rows: number }> {
  const { n_vocab } = model.hparams;
  const run = await runScript(plainModel(model), script);
  expect(run.unexpected).toBeNull();
  const got = run.rows.flatMap((rows) => (rows === null ? [] : [...float(rows.bits)]));
  const want = logits(model, outputEntries(script, n_vocab), { type_kv: script.params.type_kv });
  expect(got.length).toBe(want.length * n_vocab);
  const flat = want.flatMap((row) => [...row]);
  const rms = Math.sqrt(flat.reduce((sum, x) => sum + x * x, 0) / flat.length);
  return { worst: Math.max(...flat.map((x, i) => Math.abs(x - got[i]!))) / rms, rows: want.length };
}

/** Histories of all operations, with shared tokens, removals inside and refused calls. */
function histories(model: Model, name: string, n: number): Script[] {
  const env = plainEnv(plainModel(model), name, 'plain');
  return Array.from({ length: n }, (_, i) => operations.generate(env, i).script!);
}

describe('against the oracle', () => {
  const { architectures } = plainSubject().info;
  // It has no experts.
  const own = engineRecipes.filter(
    (name) => architectures.includes(recipeOf(name).arch) && !name.includes('moe'),
  );
  it.each(own)('recipe:%s, histories of operations', async (name) => {
    const model = named(`recipe:${name}`);
    let rows = 0;
    for (const script of histories(model, `recipe:${name}`, 3)) {
      const got = await distance(model, script);
      rows += got.rows;
      // A value near a border of F16 may fall on the other side, and moves what follows.
      expect(got.worst).toBeLessThan(script.params.type_kv === 'F16' ? 1e-2 : 1e-4);
    }
    expect(rows).toBeGreaterThan(30);
  });

  it.each(['golden:tiny-llama', 'golden:tiny-mamba'])('%s', async (name) => {
    const model = named(name);
    for (const script of histories(model, name, 1))
      expect((await distance(model, script)).worst).toBeLessThan(
        script.params.type_kv === 'F16' ? 1e-2 : 1e-4,
      );
  });

  const token = [1, 5, 0, 2, 2, 4, 3, 1, 1, 0];
  const decode = { op: 'decode', batch: { token, logits: token.map(() => true) } } as const;
  it.each([
    ['grouped heads, scaled and wide rotation, own output', microLlama(3, { n_layer: 2 })],
    ['tied output', microLlama(4, { tied: true })],
    ['three taps', microMamba(5, { n_layer: 2 })],
    ['norms of dt, B and C', microMamba(6, { n_layer: 2, dt_b_c_rms: true })],
  ])('%s', async (_, model) => {
    const { worst, rows } = await distance(model, { params: PARAMS, calls: [decode] });
    expect(rows).toBe(10);
    expect(worst).toBeLessThan(2e-5);
  });

  it('F16 caches are rounded as the oracle rounds them', async () => {
    const model = named('recipe:llama');
    const script = { params: { ...PARAMS, type_kv: 'F16' }, calls: [decode] } as const;
    expect((await distance(model, script)).worst).toBeLessThan(1e-2);
    // It is another answer than with F32, by more than all roundings of that.
    const rows = async (s: Script) => float((await runScript(plainModel(model), s)).rows[0]!.bits);
    const [half, full] = [await rows(script), await rows({ ...script, params: PARAMS })];
    expect(Math.max(...half.map((x, i) => Math.abs(x - full[i]!)))).toBeGreaterThan(1e-4);
  });

  it('would tell a wrong formula', async () => {
    const model = named('recipe:llama');
    const hparams = model.hparams as HparamsOf<'llama'>;
    const wrong = { ...model, hparams: { ...hparams, norm_rms_eps: 2 * hparams.norm_rms_eps } };
    const script: Script = { params: PARAMS, calls: [decode] };
    const run = await runScript(plainModel(wrong), script);
    const want = logits(model, outputEntries(script, hparams.n_vocab))[9]!;
    const got = float(run.rows[0]!.bits).subarray(9 * hparams.n_vocab);
    expect(Math.max(...got.map((x, v) => Math.abs(x - want[v]!)))).toBeGreaterThan(2e-5);
  });
});

/** It makes no promise, but token by token it does keep the bits; so its operations can be held to them. */
describe.each(['llama', 'mamba'])('operations, refusals and atomicity on recipe:%s', (name) => {
  const loaded = plainSubject().load(buildRecipe(name), name);
  const promising = { ...plainSubject().info, bit_invariant: true };
  const byBits = properties.filter(
    (p) => !p.white && !p.looks && p !== reference && p.skip(promising, loaded.info) === null,
  );

  it.each(byBits.map((p) => [p.name, p] as const))('%s', async (_, property) => {
    const env = plainEnv(loaded, `recipe:${name}`, 'bits');
    const strict = { ...env, subject: { ...env.subject, bit_invariant: true } };
    const { failed, compared } = await runCases(property, strict, 15);
    expect(failed?.failure?.message).toBeUndefined();
    expect(compared).toBeGreaterThan(500);
  });
});

describe('reference', () => {
  it.each(['recipe:llama', 'recipe:llama-f16', 'recipe:mamba', 'recipe:mamba-f16'])(
    'holds on %s',
    async (name) => {
      const env = plainEnv(plainModel(named(name)), name, 'plain');
      expect(reference.skip(env.subject, env.model)).toBeNull();
      const { failed, compared } = await runCases(reference, env, 4);
      expect(failed?.failure?.message).toBeUndefined();
      expect(compared).toBeGreaterThan(500);
    },
  );
});

describe('refusals', () => {
  const open = (change: Partial<ContextParams> = {}, name = 'llama'): PlainContext =>
    plainSubject()
      .load(buildRecipe(name), name)
      .open({ ...PARAMS, ...change });
  const refused = (kind: string) => expect.objectContaining({ name: 'IsobatchError', kind });
  const thrownBy = (run: () => unknown): unknown => {
    try {
      run();
    } catch (error) {
      return error;
    }
    return 'nothing was refused';
  };

  const batches: readonly (readonly [string, Batch, Partial<ContextParams>?])[] = [
    ['batch.empty', { token: [] }],
    ['batch.size', { token: new Array(33).fill(1) }],
    ['batch.size', { token: [1, 2], pos: [3] }],
    ['batch.size', { token: [1, 2], seq_id: [[0]] }],
    ['batch.size', { token: [1], logits: [true, true] }],
    ['batch.token', { token: [64] }],
    ['batch.token', { token: [-1] }],
    ['batch.token', { token: [1.5] }],
    ['batch.seq_id', { token: [1], seq_id: [[4]] }],
    ['batch.seq_id', { token: [1], seq_id: [[]] }],
    ['batch.seq_id', { token: [1], seq_id: [[1, 1]] }],
    ['batch.position', { token: [1], pos: [4] }],
    ['batch.position', { token: [1], pos: [2] }],
    ['batch.position', { token: [1, 1], pos: [3, 3] }],
    ['batch.position', { token: [1], seq_id: [[0, 1]] }],
    ['batch.shared', { token: [1], seq_id: [[0, 2]] }],
    ['batch.shared', { token: [1, 1, 1], seq_id: [[1], [3], [1, 3]] }],
    ['batch.coupled', { token: [1], seq_id: [[1, 3]] }, { split: 'equal-sequential' }],
    ['batch.whole', { token: [1, 1, 1, 1, 1] }, { split: 'whole', n_ubatch: 4 }],
    ['memory.full', { token: [1, 1, 1] }, { n_ctx: 8 }],
  ];
  it.each(batches.map(([kind, batch, change = {}]) => ({ kind, batch, change })))(
    '$kind $batch $change',
    (x) => {
      const { kind, batch, change } = x;
      const c = open(change);
      const twin = open(change);
      for (const k of [c, twin])
        for (const seq of [0, 2]) k.decode({ token: [3, 4, 5], seq_id: [[seq], [seq], [seq]] });
      expect(thrownBy(() => c.decode(batch))).toEqual(refused(kind));
      expect([0, 1, 2, 3].map((seq) => [c.seqPosMin(seq), c.seqPosMax(seq)])).toEqual([
        [0, 2],
        [-1, -1],
        [0, 2],
        [-1, -1],
      ]);
      expect(c.decode({ token: [6] })).toEqual(twin.decode({ token: [6] }));
    },
  );

  it('operations', () => {
    const c = open();
    for (const seq of [0, 2]) c.decode({ token: [3, 4, 5], seq_id: [[seq], [seq], [seq]] });
    expect(thrownBy(() => c.seqRm(4, -1, -1))).toEqual(refused('ops.seq_id'));
    expect(thrownBy(() => c.seqRm(-2, -1, -1))).toEqual(refused('ops.seq_id'));
    expect(thrownBy(() => c.seqRm(0, 0.5, -1))).toEqual(refused('ops.range'));
    expect(thrownBy(() => c.seqCp(0, 4, -1, -1))).toEqual(refused('ops.seq_id'));
    expect(thrownBy(() => c.seqCp(0, 2, -1, -1))).toEqual(refused('ops.copy'));
    expect(thrownBy(() => c.seqKeep(9))).toEqual(refused('ops.seq_id'));
    expect([c.seqPosMax(0), c.seqPosMax(2)]).toEqual([2, 2]);
  });

  it('parts of a state', () => {
    const c = open({}, 'mamba');
    c.decode({ token: [3, 4, 5] });
    for (const [seq, p0, p1] of [
      [0, 1, -1],
      [0, 0, 2],
      [0, 1, 2],
      [-1, 0, 3],
    ] as const)
      expect(thrownBy(() => c.seqRm(seq, p0, p1))).toEqual(refused('ops.partial'));
    expect(thrownBy(() => c.seqCp(0, 1, 0, 2))).toEqual(refused('ops.partial'));
    expect([c.seqPosMin(0), c.seqPosMax(0), c.seqPosMax(1)]).toEqual([2, 2, -1]);
    c.seqRm(0, 3, -1);
    c.seqRm(0, 2, 2);
    c.seqCp(0, 1, 0, 3);
    c.seqRm(0, 0, 3);
    expect([c.seqPosMax(0), c.seqPosMax(1)]).toEqual([-1, 2]);
  });

  it.each([
    ['llama', { n_ctx: 0 }],
    ['llama', { n_batch: 1.5 }],
    ['llama', { n_seq_max: 2 ** 40 }],
    ['llama', { split: 'fair' as 'equal' }],
    ['llama', { n_keep_tail: -1 }],
    ['llama', { type_kv: 'Q8' as 'F16' }],
  ])('params of %s %j', (name, change) => {
    expect(thrownBy(() => open(change, name))).toEqual(refused('params'));
  });

  it('files that are no models', () => {
    expect(thrownBy(() => plainSubject().load(new Uint8Array(3), 'x'))).toEqual(refused('gguf'));
  });

  it('models of architectures that it does not run', () => {
    const model = named('recipe:llama');
    const hparams = { ...model.hparams, arch: 'gpt2' } as unknown as Hparams;
    expect(thrownBy(() => plainModel({ ...model, hparams }))).toEqual(refused('model'));
  });

  it('an overflow of F16 by a later token changes nothing', () => {
    // Values of the first layer so large that some tokens overflow and others do not.
    const model = named('recipe:llama');
    const tensor = model.tensors.get('blk.0.attn_v.weight')!;
    const scaled = (factor: number): Model => {
      const data = Float32Array.from(tensor.data as Float32Array, (w) => w * factor);
      return {
        ...model,
        tensors: new Map<string, Tensor>([...model.tensors, [tensor.name, { ...tensor, data }]]),
      };
    };
    const overflows = (m: Model, t: number): boolean =>
      typeof thrownBy(() =>
        plainModel(m)
          .open({ ...PARAMS, type_kv: 'F16' })
          .decode({ token: [t] }),
      ) === 'object';
    const factor = [1, 2, 4, 8, 16]
      .map((f) => f * 4096)
      .find((f) => overflows(scaled(f), 7) !== overflows(scaled(f), 9));
    expect(factor).toBeDefined();
    const m = scaled(factor!);
    const [fits, bad] = overflows(m, 7) ? [9, 7] : [7, 9];
    const [c, twin] = [0, 1].map(() => plainModel(m).open({ ...PARAMS, type_kv: 'F16' }));
    for (const k of [c!, twin!]) k.decode({ token: [fits, fits], seq_id: [[0], [1]] });
    const batch = { token: [fits, fits, bad, fits], seq_id: [[0], [2], [1], [0]] };
    expect(thrownBy(() => c!.decode(batch))).toEqual(refused('memory.overflow'));
    expect([0, 1, 2].map((seq) => c!.seqPosMax(seq))).toEqual([0, 0, -1]);
    for (const seq of [0, 1, 2]) {
      const next = { token: [fits], seq_id: [[seq]] };
      expect(c!.decode(next)).toEqual(twin!.decode(next));
    }
    // In F32 the same numbers are no overflow.
    expect(
      plainModel(m)
        .open(PARAMS)
        .decode({ token: [bad] }).n_outputs,
    ).toBe(1);
  });
});

describe('as a subject', () => {
  it('is chosen by name', async () => {
    const spec = subjectSpec('plain', undefined);
    expect(specInWords(spec)).toBe('plain');
    expect(specOptions(spec)).toEqual(['--subject', 'plain']);
    const { subject, white } = await openSubject(spec);
    expect(subject.info.name).toBe('plain');
    expect(white).toBeUndefined();
  });

  it('conforms behind the protocol', async () => {
    const cli = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url));
    const results = await checkSubject(`node ${cli} subject serve --subject plain`);
    expect(results.filter((r) => r.status === 'failed')).toEqual([]);
    expect(results.filter((r) => r.status === 'passed').length).toBeGreaterThan(30);
  });
});
