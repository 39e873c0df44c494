/**
 * Models with one token whose values no F16 cache can hold, so that a batch can be made to fail in whichever of its
 * ubatches this token is. All other tokens never know: one channel belongs to it alone. It is the whole embedding of
 * the last token and 0 in all others, nothing in the model writes to it, and only values of attention read it, by
 * weights so large that they leave F16 and do not leave F32.
 */
import { floatsToHalves } from '../model/f16.ts';
import { readGguf, writeGguf } from '../model/gguf.ts';
import type { Tensor } from '../model/types.ts';

/** Matrices that add to the residual stream. */
const WRITERS = /\.(attn_output|ssm_out|shortconv\.out_proj|ffn_down)\.weight$/;
const READERS = /\.attn_v\.weight$/;
/** Of the embedding: large against what the layers add to other channels. */
const LOUD = 100;
/** Fits F16; after a norm the channel is about sqrt(n_embd), at least 4. */
const WEIGHT = 60_000;

/** The file of a model, its last token made loud. */
export function withOverflow(bytes: Uint8Array): Uint8Array {
  const { metadata, tensors } = readGguf(bytes, 'a recipe');
  const [n_embd, n_vocab] = tensors.get('token_embd.weight')!.ne as [number, number];
  const channel = n_embd - 1;
  const changed = [...tensors.values()].map((t) => {
    if (t.name === 'token_embd.weight') {
      return edited(t, (row, i) => {
        if (row < n_vocab - 1) return i === channel ? 0 : undefined;
        return i === channel ? LOUD : 0;
      });
    }
    if (WRITERS.test(t.name)) return edited(t, (row) => (row === channel ? 0 : undefined));
    return READERS.test(t.name) ? edited(t, (_, i) => (i === channel ? WEIGHT : undefined)) : t;
  });
  return writeGguf({ metadata: [...metadata], tensors: changed });
}

/** A matrix with other elements, where `value` (of row and column) gives one. */
function edited(t: Tensor, value: (row: number, i: number) => number | undefined): Tensor {
  const data = t.data.slice();
  const n = t.ne[0]!;
  const asStored = (x: number): number => (t.type === 'F16' ? floatsToHalves(Float32Array.of(x))[0]! : x);
  for (let k = 0; k < data.length; k++) {
    const x = value(Math.floor(k / n), k % n);
    if (x !== undefined) data[k] = asStored(x);
  }
  return { ...t, data };
}
