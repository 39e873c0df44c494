/**
 * The five spaces of a plan as arrays of 4-byte words, which is what its offsets count. Views are made once a buffer.
 */

import { IsobatchError } from '../../contract/errors.ts';
import { type Memory, TYPE } from '../plan.ts';
import { HALF } from './math.ts';

export interface Space {
  readonly f32: Float32Array;
  readonly u16: Uint16Array;
}

const known = new WeakMap<Uint8Array, Space>();

/** Words and halves of a byte space, which must start at a multiple of 4 bytes. */
export function space(bytes: Uint8Array, name: string): Space {
  let found = known.get(bytes);
  if (!found) {
    if (bytes.byteOffset % 4 !== 0) {
      throw new IsobatchError('usage', `memory.${name} must start at a multiple of 4 bytes`, {
        byteOffset: bytes.byteOffset,
      });
    }
    const words = bytes.byteLength >> 2;
    found = {
      f32: new Float32Array(bytes.buffer, bytes.byteOffset, words),
      u16: new Uint16Array(bytes.buffer, bytes.byteOffset, words * 2),
    };
    known.set(bytes, found);
  }
  return found;
}

export interface Views {
  readonly weights: Space;
  readonly act: Float32Array;
  readonly cache: Space;
  readonly index: Int32Array;
  readonly out: Float32Array;
}

export function viewsOf(memory: Memory): Views {
  return {
    weights: space(memory.weights, 'weights'),
    act: memory.act,
    cache: space(memory.cache, 'cache'),
    index: memory.index,
    out: memory.out,
  };
}

/** to[at + i] = element `first + i` (of `type`) behind word `base` of a space, i < n. */
export function readElements(
  from: Space,
  base: number,
  first: number,
  type: number,
  n: number,
  to: Float32Array,
  at: number,
): void {
  if (type === TYPE.F32) {
    const start = base + first;
    for (let i = 0; i < n; i++) to[at + i] = from.f32[start + i]!;
  } else {
    const start = base * 2 + first;
    for (let i = 0; i < n; i++) to[at + i] = HALF[from.u16[start + i]!]!;
  }
}
