/** Tensors of the types that the comparisons hand to ONNX Runtime. */
import type { Feed } from './runtime.ts';

export function float64(data: Float64Array, ...dims: number[]): Feed {
  return { type: 'float64', data, dims };
}

/** The numbers must be float32 numbers already, so that both sides start from the same. */
export function float32(data: Float64Array, ...dims: number[]): Feed {
  const rounded = Float32Array.from(data);
  if (rounded.some((x, i) => x !== data[i])) throw new RangeError('a number is no float32');
  return { type: 'float32', data: rounded, dims };
}

export function int64(data: readonly number[], ...dims: number[]): Feed {
  return { type: 'int64', data: BigInt64Array.from(data, BigInt), dims };
}

export function bool(data: readonly boolean[], ...dims: number[]): Feed {
  return { type: 'bool', data: Uint8Array.from(data, Number), dims };
}
