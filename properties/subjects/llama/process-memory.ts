/**
 * Memory of this process, read through the kernel: an address where nothing lies gives null and no crash, so that a
 * layout may be looked for.
 */
import { openSync, readSync } from 'node:fs';
import { IsobatchError } from '../../../contract/errors.ts';
import type { Address } from './library.ts';

export interface ProcessMemory {
  /** A copy; null if not all of it can be read. */
  read(at: Address, bytes: number): DataView | null;
}

/** Throws `refused` where the kernel does not show a process its own memory. */
export function ownMemory(): ProcessMemory {
  let file: number;
  try {
    file = openSync('/proc/self/mem', 'r');
  } catch (error) {
    throw new IsobatchError(
      'refused',
      `a process cannot read its own memory here: ${(error as Error).message}`,
    );
  }
  return {
    read(at, bytes) {
      const copy = new Uint8Array(bytes);
      try {
        if (readSync(file, copy, 0, bytes, at) !== bytes) return null;
      } catch {
        return null;
      }
      return new DataView(copy.buffer);
    },
  };
}
