/**
 * A correct engine gets no sentence, and every row is read: random histories of all generators (shared tokens, copies,
 * removals of every extent, refused calls, every split policy), a fixed one on every implementation of the kernels,
 * and the oracle in float64. Margins stay far from what would be read wrongly.
 */
import { describe, expect, test } from 'vitest';
import { engineSubject } from '../../engine/subject.ts';
import { TOLERANCE } from '../../golden/probes/codes.ts';
import { operations } from '../operations.ts';
import { reuse } from '../reuse.ts';
import { share } from '../share.ts';
import { solo } from '../solo.ts';
import type { Call, Script } from '../types.ts';
import { validity } from '../validity.ts';
import { countEvents } from './history.ts';
import { type ProbeStory, probeStory } from './story.ts';
import { casesOf, envOf, LLAMA, MAMBA, modelOf, oracleLoad, RWKV6 } from './testing.ts';

const subject = engineSubject();
const load = (bytes: Uint8Array, name: string) => subject.load(bytes, name);
const GENERATORS = [operations, solo, share, reuse, validity];
/** Cases of each generator and architecture. */
const N_CASES = Number(process.env.ISOBATCH_PROBE_CASES ?? 8);

function expectSilent(story: ProbeStory, script: Script): void {
  expect(story, JSON.stringify(script)).toMatchObject({ sentences: [] });
  expect(story.note).toBeUndefined();
  expect(story.rows).toBeGreaterThanOrEqual(countEvents(script));
  const { set = 0, state = 0, positions = 0 } = story.margins;
  expect(Math.max(set, state)).toBeLessThan(TOLERANCE / 10);
  expect(positions).toBeLessThan(0.2);
}

/** Interleaved sequences, a shared beginning, a copy, a suffix that goes, a whole sequence that is replaced. */
function mixed(memory: 'attention' | 'recurrent'): Call[] {
  const decode = (...seqs: (number | number[])[]): Call => {
    const seq_id = seqs.map((ids) => (typeof ids === 'number' ? [ids] : ids));
    return { op: 'decode', batch: { token: seqs.map(() => 7), seq_id } };
  };
  const parts: Call[] =
    memory === 'recurrent'
      ? []
      : [
          { op: 'seqRm', seq: 1, p0: 4, p1: -1 },
          { op: 'seqRm', seq: 0, p0: 1, p1: 3 },
        ];
  return [
    decode([0, 2], [0, 2], [0, 2], 1, 1, 0, 2, 1, 0, 1, 2, 1),
    { op: 'seqCp', from: 0, to: 3, p0: 0, p1: -1 },
    ...parts,
    decode(3, 1, 0, 0, 3, 2, 1),
    { op: 'seqRm', seq: 2, p0: 0, p1: -1 },
    decode(2, 3, 2, 0, 1, 0, 2),
    { op: 'seqKeep', seq: 2 },
    decode(0, 2, 0, 1),
    { op: 'clear' },
    decode([0, 1, 2, 3], 1, 3, 3),
  ];
}

/** Every implementation with every size of ubatch and type of K and V; the split policies take turns. */
function* configurations(memory: 'attention' | 'recurrent') {
  // These two refuse shared tokens, or sets that are longer than a ubatch.
  const splits = subject.info.splits[memory]!.filter((s) => s !== 'equal-sequential' && s !== 'whole');
  const types = memory === 'attention' ? (['F32', 'F16'] as const) : (['F32'] as const);
  let turn = 0;
  for (const isa of subject.info.isas)
    for (const n_ubatch of isa === 'portable' ? [3] : [1, 3, 64])
      for (const type_kv of types) {
        const split = splits[turn++ % splits.length]!;
        yield { n_ctx: 64, n_batch: 64, n_ubatch, n_seq_max: 4, split, type_kv, isa };
      }
}

describe.each([
  ['llama', LLAMA],
  ['mamba', MAMBA],
  ['rwkv6', RWKV6],
] as const)('%s', (arch, model) => {
  const memory = model.memory === 'attention' ? 'attention' : 'recurrent';
  const calls = mixed(memory);

  test('random histories', { timeout: 60_000 + 2_000 * N_CASES }, async () => {
    const env = await envOf(subject, arch, 'probe');
    // The probe of RWKV is ten times as large.
    const n = arch === 'rwkv6' ? Math.ceil(N_CASES / 4) : N_CASES;
    for (const { script } of casesOf(env, GENERATORS, n))
      expectSilent(await probeStory(load, script!, model), script!);
  });

  test('one history on every implementation, with K and V in both types, cut in every way', async () => {
    for (const params of configurations(memory))
      expectSilent(await probeStory(load, { params, calls }, model), { params, calls });
  });

  test('the oracle', async () => {
    for (const type_kv of ['F32', 'F16'] as const) {
      const params = { n_ctx: 64, n_batch: 64, n_ubatch: 64, n_seq_max: 4, split: 'equal' as const, type_kv };
      expectSilent(await probeStory(oracleLoad(), { params, calls }, model), { params, calls });
    }
  });
});

test('one sequence of as many tokens as a probe has ids', async () => {
  for (const [memory, n] of [
    ['attention', 127],
    ['attention', 155],
    ['attention', 315],
    ['recurrent', 63],
    ['recurrent', 155],
    ['recurrent', 635],
  ] as const) {
    const params = { n_ctx: n, n_batch: n, n_ubatch: 37, n_seq_max: 1, split: 'equal' as const };
    const type_kv = memory === 'attention' ? 'F16' : 'F32';
    const script: Script = {
      params: { ...params, type_kv },
      calls: [{ op: 'decode', batch: { token: Array.from({ length: n }, () => 1) } }],
    };
    expectSilent(await probeStory(load, script, modelOf(memory)), script);
  }
});
