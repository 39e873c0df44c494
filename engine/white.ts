/**
 * The engine's rules one by one, for white-box properties: the very classes that a decode uses, behind the interface
 * that the oracle offers too.
 */
import type { CompleteBatch, SplitOptions, Ubatch } from '../contract/batch.ts';
import type { WhiteBox } from '../contract/white.ts';
import { type LoadKernelsOptions, loadKernels } from '../native/binding.ts';
import { flatten } from './batch.ts';
import { Cells } from './cells.ts';
import { FlatBatch } from './flat-batch.ts';
import { makeKernelBox } from './kernels-white.ts';
import { ubatchOutputs } from './outputs.ts';
import { checkSplit } from './params.ts';
import { Slots } from './slots.ts';
import { Splitter } from './split.ts';
import { ShownCaches } from './windows-white.ts';

/** `options` choose the native library, as for `engineSubject`. */
export function makeEngineWhite(options: LoadKernelsOptions = {}): WhiteBox {
  const flat = new FlatBatch();
  const splitter = new Splitter();
  let ids = new Int32Array(64);
  let rows = new Int32Array(64);
  return {
    split(batch: CompleteBatch, options: SplitOptions): Ubatch[] {
      checkSplit(options.n_ubatch, options.n_keep_tail ?? 0);
      flatten(batch, flat);
      splitter.split(flat, options.policy, options.n_ubatch, options.n_keep_tail ?? 0);
      const ubatches: Ubatch[] = [];
      for (let u = 0; u < splitter.n_ubatches; u++) {
        const index = Array.from(splitter.index.subarray(splitter.begin[u], splitter.begin[u + 1]));
        const { equalSeqs } = splitter;
        const n_seqs = equalSeqs ? splitter.nSeqs[u]! : index.length;
        ubatches.push({
          equal_seqs: equalSeqs,
          n_seqs,
          n_seq_tokens: equalSeqs ? splitter.nSeqTokens[u]! : 1,
          index,
        });
      }
      return ubatches;
    },
    outputRows(batch: CompleteBatch, ubatches: readonly Ubatch[]): number[] {
      flatten(batch, flat);
      const n = flat.n_tokens;
      if (ids.length < n) {
        ids = new Int32Array(2 * n);
        rows = new Int32Array(2 * n);
      }
      splitter.load(ubatches);
      let done = 0;
      for (let u = 0; u < ubatches.length; u++)
        done += ubatchOutputs(flat, splitter, u, ids, done, rows, done);
      return Array.from(rows.subarray(0, done));
    },
    slots: (n_slots) => new Slots(n_slots),
    cells: (n_cells) => new Cells(n_cells),
    windows: (shape) => new ShownCaches(shape),
    kernels: makeKernelBox(() => loadKernels(options)),
  };
}

export const engineWhite: WhiteBox = makeEngineWhite();
