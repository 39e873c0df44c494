/** The writer of GGUF: what it refuses. What it writes is tested with the reader, in `gguf.test.ts`. */
import { describe, expect, it } from 'vitest';
import { IsobatchError } from '../contract/errors.ts';
import { type GgufValue, writeGguf } from './gguf.ts';
import type { Tensor } from './types.ts';

function refusal(run: () => unknown): IsobatchError {
  try {
    run();
  } catch (error) {
    if (error instanceof IsobatchError) return error;
    throw error;
  }
  throw new Error('was not refused');
}

const tensor = (name: string, ...ne: number[]): Tensor => {
  const n = ne.reduce((product, size) => product * size, 1);
  return { name, ne, type: 'F32', data: Float32Array.from({ length: n }, (_, i) => i + 0.5) };
};

describe('the writer refuses', () => {
  const write = (metadata: [string, GgufValue][], tensors: Tensor[] = [], alignment?: number): string =>
    refusal(() => writeGguf({ metadata, tensors, alignment })).message;

  it('metadata that no reader accepts', () => {
    const one: GgufValue = { type: 'u8', value: 1 };
    expect(
      write([
        ['k', one],
        ['k', one],
      ]),
    ).toContain('"k" is there twice');
    expect(write([['', one]])).toContain('metadata key of 0 bytes');
    expect(write([['k', { type: 'u8', value: 256 }]])).toContain('k holds 256, which does not fit u8');
    expect(write([['k', { type: 'i64', value: 2n ** 63n }]])).toContain('does not fit i64');
    expect(write([['k', { type: 'u32', value: 0.5 }]])).toContain('k holds 0.5, which is not an integer');
    expect(write([['k', { type: 'array', of: 'bool', value: Uint8Array.of(2) }]])).toContain('not a bool');
    expect(write([['k', { type: 'array', of: 'string', value: Uint8Array.of(2) }]])).toContain(
      'not a string',
    );
    expect(write([['k', { type: 'array', of: 'i8', value: Float32Array.of(200) }]])).toContain(
      'does not fit i8',
    );
    expect(write([], [], 24)).toContain('24 is not a power of two');
    expect(write([['general.alignment', { type: 'u32', value: 64 }]], [], 32)).toContain('32 contradicts');
    expect(write([['general.alignment', { type: 'u64', value: 64 }]])).toContain('must be u32, not u64');
  });

  it('tensors whose parts contradict each other', () => {
    expect(write([], [tensor('a', 1), tensor('a', 1)])).toContain('"a" is there twice');
    expect(write([], [tensor('', 1)])).toContain('a name of 0 bytes');
    expect(write([], [tensor('a', 1, 1, 1, 1, 1)])).toContain('5 dimensions');
    expect(write([], [tensor('a', 0)])).toContain('the shape [0]');
    expect(write([], [{ ...tensor('a', 2), ne: [3] }])).toContain('2 elements, but its shape says 3');
    expect(write([], [{ ...tensor('a', 2), type: 'F16' }])).toContain('data that are not F16');
  });
});
