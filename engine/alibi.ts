/** The slopes of ALiBi (spec: batching.md 6.5), as float32 in whole vectors, by our own exponential. */
import { pad16 } from '../native/plan.ts';
import { exp64 } from './rope.ts';

export function alibiSlopes(n_head: number, max_bias: number): Float32Array {
  const largest = 2 ** (31 - Math.clz32(n_head));
  const slopes = new Float32Array(pad16(n_head));
  for (let h = 0; h < n_head; h++) {
    const steps = h < largest ? h + 1 : h - largest + 0.5;
    slopes[h] = exp64((-Math.LN2 * max_bias * steps) / largest);
  }
  return slopes;
}
