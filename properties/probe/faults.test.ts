/** What the probe says about planted faults: the sentence names the cause. Needs the built program, as all faults do. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { SplitPolicy } from '../../contract/batch.ts';
import { buildNative } from '../../native/build.ts';
import type { Call } from '../types.ts';
import { modelOf } from './testing.ts';

const MAIN = fileURLToPath(new URL('../../dist/properties/probe/fault-main.js', import.meta.url));

function decode(...seqs: (number | number[])[]): Call {
  const seq_id = seqs.map((ids) => (typeof ids === 'number' ? [ids] : ids));
  return { op: 'decode', batch: { token: seqs.map(() => 5), seq_id } };
}
const leave = (seq: number): Call => ({ op: 'seqRm', seq, p0: 0, p1: -1 });

interface Planted {
  readonly fault: string;
  readonly memory: 'attention' | 'recurrent';
  readonly split: SplitPolicy;
  readonly n_ubatch: number;
  readonly calls: Call[];
  readonly says: string[];
}

const PLANTED: readonly Planted[] = [
  {
    fault: 'split-contiguous',
    memory: 'recurrent',
    split: 'whole',
    n_ubatch: 2,
    calls: [decode(0, 1, 0)],
    says: [
      'row of 0@1 was never written (all its logits are 0)',
      'query 1@0: state holds 0@0, which it must not; age 2; state holds 1@0 twice',
    ],
  },
  {
    fault: 'slots-claimed-tail',
    memory: 'recurrent',
    split: 'equal',
    n_ubatch: 2,
    calls: [decode([2, 3]), decode(3), leave(2), decode(3, 2)],
    says: [
      'query 2@0: state holds {2,3}@0 (removed) 3@1, which it must not; ages 2 1',
      'query 3@2: state lacks {2,3}@0 3@1',
    ],
  },
  {
    fault: 'slots-stale-bystander',
    memory: 'recurrent',
    split: 'equal-sequential',
    n_ubatch: 3,
    calls: [decode(1, 2, 4, 3), leave(3), decode(4, 0, 3, 1)],
    says: ['query 3@0 of call 2: state holds 3@0 of call 0 (removed), which it must not; age 1'],
  },
  {
    fault: 'cells-removal-edge',
    memory: 'attention',
    split: 'simple',
    n_ubatch: 4,
    calls: [decode(0, 0, 0), { op: 'seqRm', seq: 0, p0: 1, p1: -1 }, decode(0)],
    says: ['query 0@1 of call 2: saw 0@1 of call 0 (removed), which it must not'],
  },
  {
    fault: 'outputs-stale-rows',
    memory: 'attention',
    split: 'simple',
    n_ubatch: 1,
    calls: [decode(0, 1)],
    says: [
      'row of 0@0 is the answer of 1@0 (output rows are mixed up)',
      'row of 1@0 was never written (all its logits are 0)',
    ],
  },
  {
    fault: 'conv-short-chunk',
    memory: 'recurrent',
    split: 'equal',
    n_ubatch: 4,
    calls: [decode(0), decode(0)],
    says: ['query 0@1: convolution lacks 0@0 at lag 1'],
  },
];

/** Sentences about a history on the engine with this fault. */
function probe({ fault, memory, split, n_ubatch, calls }: Planted): string[] {
  const params = { n_ctx: 16, n_batch: 16, n_ubatch, n_seq_max: 5, split };
  const question = JSON.stringify({ model: modelOf(memory), script: { params, calls } });
  const run = spawnSync(process.execPath, [MAIN, fault, question], { encoding: 'utf8', timeout: 200_000 });
  if (run.status !== 0) throw new Error(`the process with the fault ended badly: ${run.stderr}`);
  return JSON.parse(run.stdout);
}

const native = 'path' in buildNative();

// Patched kernels are compiled first, beside whatever else this machine does.
describe('the probe on the engine with a fault', { timeout: 240_000 }, () => {
  // Without a compiler there are no kernels to plant a fault in.
  const planted = PLANTED.filter(({ fault }) => native || fault !== 'conv-short-chunk');
  test.each(planted)('$fault', (p) => {
    const sentences = probe(p);
    expect(sentences).toHaveLength(p.says.length);
    // Sentences about a state go on with what the convolution holds.
    p.says.forEach((start, k) => {
      expect(sentences[k]!.slice(0, start.length)).toBe(start);
    });
  });
});
