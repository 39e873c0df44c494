/**
 * Probes on the real llama.cpp: a healthy release gets no sentence, and a fault that is planted between us and it gets
 * the right one. Needs the built program and the newest release in the cache (`isobatch verify --subject llama --lib
 * v0.5.0` puts it there); skipped where it is not.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TOLERANCE } from '../../golden/probes/codes.ts';
import { buildProbe, probes } from '../../golden/probes/registry.ts';
import { cachedRelease } from '../subjects/llama/cache.ts';
import type { OpenSubject } from '../subjects/registry.ts';
import type { Call, Script } from '../types.ts';
import type { Probed } from './candidates.ts';
import { probeFailure } from './failure.ts';
import { probeStory } from './story.ts';
import { LLAMA, MAMBA, type Mistake, mistaken } from './testing.ts';

const RELEASE = 'v0.5.0';
const BUILT = new URL('../../dist/properties/subjects/registry.js', import.meta.url).href;
const here = process.platform === 'linux' && process.arch === 'x64' && cachedRelease(RELEASE) !== null;

const GEMMA2: Probed = { arch: 'gemma2', memory: 'attention', n_layer: 4 };
const GEMMA3: Probed = { arch: 'gemma3', memory: 'attention', n_layer: 7 };
const RWKV: Probed = { arch: 'rwkv7', memory: 'recurrent', n_layer: 2 };
const HYBRID: Probed = { arch: 'lfm2', memory: 'hybrid', n_layer: 3 };
const MODELS = [LLAMA, MAMBA, GEMMA2, GEMMA3, RWKV, HYBRID];

const decode = (...seqs: number[]): Call => {
  const seq_id = seqs.map((seq) => [seq]);
  return { op: 'decode', batch: { token: seqs.map(() => 5), seq_id } };
};

/** Interleaved sequences beyond a window, a copy, one that is replaced. */
const CALLS: Call[] = [
  decode(0, 1, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0),
  { op: 'seqCp', from: 0, to: 2, p0: 0, p1: -1 },
  decode(2, 1, 0, 1, 2, 2),
  { op: 'seqRm', seq: 0, p0: 0, p1: -1 },
  decode(0, 2, 1, 0),
];

function script(kv_unified: boolean, swa_full: boolean, n_ubatch: number, type_kv: 'F32' | 'F16'): Script {
  const sizes = { n_ctx: 48, n_batch: 32, n_ubatch, n_seq_max: 3, split: 'equal' as const };
  return { params: { ...sizes, type_kv, kv_unified, swa_full, flash_attn: type_kv === 'F16' }, calls: CALLS };
}

describe.skipIf(!here)(`on llama.cpp ${RELEASE}${here ? '' : ' (skipped: it is not in the cache)'}`, () => {
  let open: OpenSubject;
  beforeAll(async () => {
    const { openSubject } = (await import(BUILT)) as typeof import('../subjects/registry.ts');
    open = await openSubject({ kind: 'llama', lib: RELEASE });
  }, 30_000);
  afterAll(() => open.kill?.());
  const load = (bytes: Uint8Array, name: string) => open.subject.load(bytes, name);

  test.each(probes)('$name loads, and its tokens are known', async (probe) => {
    const model = await load(buildProbe(probe.name), probe.name);
    expect(model.info).toMatchObject({ arch: probe.arch, memory: probe.memory, n_vocab: probe.n_vocab });
    await model.close();
  });

  test.each(MODELS)(
    '$arch: no sentence about a correct build',
    async (model) => {
      for (const s of [
        script(true, true, 4, 'F32'),
        script(false, false, 3, 'F32'),
        script(false, true, 1, 'F16'),
      ]) {
        const story = await probeStory(load, s, model);
        expect(story).toMatchObject({ sentences: [], wrong: 0 });
        expect(story.note).toBeUndefined();
        expect(story.rows).toBeGreaterThanOrEqual(23);
        const { positions = 0, ...sets } = story.margins;
        expect(Math.max(...Object.values(sets))).toBeLessThan(TOLERANCE / 10);
        expect(positions).toBeLessThan(0.2);
      }
    },
    30_000,
  );

  // The first token of the history is evaluated once more, in sequence 1, before the second batch.
  const intruder: Mistake = (context) => {
    let k = 0;
    return {
      decode: async (batch) => {
        if (k++ === 1) await context.decode({ token: [3], seq_id: [[1]], logits: [false] });
        return await context.decode(batch);
      },
    };
  };
  const SAYS: Readonly<Record<string, string>> = {
    llama: 'query 1@4: saw 0@0 of call 0, which it must not',
    mamba: 'query 1@4: state holds 0@0 of call 0, which it must not; age 1; convolution',
    gemma2: 'sequence 1, position 4 saw position 0 of sequence 0 (both layers)',
    gemma3: 'sequence 1, position 4 saw position 0 of sequence 0 (both layers)',
    rwkv7:
      'query 1@4: state holds 0@0 of call 0, which it must not; age 1; token shift of the time mix holds 0@0 of call 0, must be 1@3',
    lfm2: 'query 1@4: attention saw 0@0 of call 0, which it must not; state holds 0@0 of call 0, which it must not; age 1',
  };
  test.each(MODELS)(
    '$arch: a token that is put into another sequence',
    async (model) => {
      const env = { load: mistaken({ ...open.subject, load }, intruder), model, subject: open.subject.info };
      const s = script(true, true, 4, 'F32');
      const c = { version: 1, property: 'solo', model: 'x', seed: 's', index: 0, script: s } as const;
      const [first] = await probeFailure(env, c);
      expect(first?.slice(0, SAYS[model.arch]!.length)).toBe(SAYS[model.arch]);
    },
    30_000,
  );
});
