/**
 * Splitter: nanoseconds a batch of 512 tokens of 32 ragged sequences, and bytes allocated a batch.
 *
 *   node --expose-gc dist/bench/split.js [--batches N]
 *
 * Every timed split is checked first: it hands out each batch index once, and equals the oracle's.
 */
import { SPLIT_POLICIES, type SplitPolicy } from '../contract/batch.ts';
import { flatten } from '../engine/batch.ts';
import { FlatBatch } from '../engine/flat-batch.ts';
import { Splitter } from '../engine/split.ts';
import { split as oracleSplit } from '../oracle/split.ts';

/** 32 sequences with lengths 1..31, interleaved; 512 tokens in all. */
function raggedBatch() {
  const left = Array.from({ length: 32 }, (_, q) => 1 + ((q * 7) % 31));
  const pos = new Array<number>(32).fill(0);
  const seq_id: number[][] = [];
  const positions: number[] = [];
  for (let q = 0; seq_id.length < 512; q = (q + 5) % 32) {
    if (left[q] === 0 && left.some((n) => n > 0)) continue;
    left[q]! -= 1;
    seq_id.push([q]);
    positions.push(pos[q]++);
  }
  const token = new Array<number>(512).fill(1);
  return { token, pos: positions, seq_id, logits: token.map((_, i) => i % 3 === 0) };
}

export interface SplitFigure {
  policy: SplitPolicy;
  ns_per_batch: number;
  bytes_per_batch: number;
  n_ubatches: number;
}

/** Measures one policy over `batches` splits with n_ubatch 64. Throws if the split is wrong. */
export function measureSplit(policy: SplitPolicy, batches: number): SplitFigure {
  const batch = raggedBatch();
  const flat = new FlatBatch();
  const splitter = new Splitter();
  flatten(batch, flat);
  splitter.split(flat, policy, 64, 0);
  const wanted = oracleSplit(batch, { policy, n_ubatch: 64 }).flatMap((ubatch) => ubatch.index);
  const got = Array.from(splitter.index.subarray(0, 512));
  if (wanted.some((i, at) => i !== got[at])) throw new Error(`${policy}: engine and oracle differ`);
  for (let i = 0; i < batches / 2; i++) splitter.split(flat, policy, 64, 0);

  // The host allocates a little now and then on its own: the least of three rounds is the splitter's.
  let ns_per_batch = Infinity;
  let bytes_per_batch = Infinity;
  for (let round = 0; round < 3; round++) {
    globalThis.gc?.();
    const heap = process.memoryUsage().heapUsed;
    const start = process.hrtime.bigint();
    for (let i = 0; i < batches; i++) splitter.split(flat, policy, 64, 0);
    const elapsed_ns = Number(process.hrtime.bigint() - start);
    const grown = Math.max(0, process.memoryUsage().heapUsed - heap);
    ns_per_batch = Math.min(ns_per_batch, elapsed_ns / batches);
    bytes_per_batch = Math.min(bytes_per_batch, grown / batches);
  }
  return { policy, ns_per_batch, bytes_per_batch, n_ubatches: splitter.n_ubatches };
}

if (process.argv[1]?.endsWith('split.js')) {
  const at = process.argv.indexOf('--batches');
  const batches = at > 0 ? Number(process.argv[at + 1]) : 100_000;
  console.log(`512 tokens of 32 ragged sequences, n_ubatch 64, ${batches} batches a policy`);
  // Once unseen: compiling this file's own loop allocates some 200 KB, whichever policy comes first.
  measureSplit('simple', batches);
  for (const policy of SPLIT_POLICIES) {
    const figure = measureSplit(policy, batches);
    console.log(
      `${policy.padEnd(17)} ${figure.ns_per_batch.toFixed(0).padStart(7)} ns a batch  ` +
        `${figure.bytes_per_batch.toFixed(2)} bytes allocated a batch  ${figure.n_ubatches} ubatches`,
    );
  }
}
