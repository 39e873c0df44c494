/** GGUF: round trips, every value type, and malformed files one by one, each with the field and place it must name. */
import { describe, expect, it } from 'vitest';
import { IsobatchError } from '../contract/errors.ts';
import { goldenModel, goldenModelNames } from '../golden/assets.ts';
import { buildRecipe, recipeNames } from '../golden/recipes.ts';
import { type GgufValue, readGguf, writeGguf } from './gguf.ts';
import { baseFiles, layoutOf, type Place } from './gguf-layout.ts';
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

const rewrite = (bytes: Uint8Array): Uint8Array => {
  const { metadata, tensors } = readGguf(bytes, 'x');
  return writeGguf({ metadata, tensors: tensors.values() });
};

const tensor = (name: string, ...ne: number[]): Tensor => {
  const n = ne.reduce((product, size) => product * size, 1);
  return { name, ne, type: 'F32', data: Float32Array.from({ length: n }, (_, i) => i + 0.5) };
};

describe('round trips', () => {
  it.each(recipeNames)('recipe %s: read and written again, byte for byte', (name) => {
    const bytes = buildRecipe(name);
    expect(Buffer.compare(rewrite(bytes), bytes)).toBe(0);
  });

  it.each(goldenModelNames)('%s, written by another program: byte for byte', (name) => {
    const bytes = goldenModel(name);
    expect(Buffer.compare(rewrite(bytes), bytes)).toBe(0);
  });

  it('keeps all thirteen types, with 64-bit integers as numbers where safe', () => {
    const metadata: [string, GgufValue][] = [
      ['u8', { type: 'u8', value: 255 }],
      ['i8', { type: 'i8', value: -128 }],
      ['u16', { type: 'u16', value: 65535 }],
      ['i16', { type: 'i16', value: -32768 }],
      ['u32', { type: 'u32', value: 4294967295 }],
      ['i32', { type: 'i32', value: -2147483648 }],
      ['f32', { type: 'f32', value: Math.fround(0.1) }],
      ['bool', { type: 'bool', value: true }],
      ['string', { type: 'string', value: '\ufeffGrüße \u{1f600}' }],
      ['u64 safe', { type: 'u64', value: 2 ** 53 - 1 }],
      ['u64 large', { type: 'u64', value: 2n ** 64n - 1n }],
      ['i64 safe', { type: 'i64', value: -5 }],
      ['i64 large', { type: 'i64', value: -(2n ** 63n) }],
      ['f64', { type: 'f64', value: 0.1 }],
      ['u8s', { type: 'array', of: 'u8', value: Uint8Array.of(1, 2) }],
      ['i8s', { type: 'array', of: 'i8', value: Int8Array.of(-1, 2) }],
      ['u16s', { type: 'array', of: 'u16', value: Uint16Array.of(1, 2) }],
      ['i16s', { type: 'array', of: 'i16', value: Int16Array.of(-1, 2) }],
      ['u32s', { type: 'array', of: 'u32', value: Uint32Array.of(1, 2) }],
      ['i32s', { type: 'array', of: 'i32', value: Int32Array.of(-1, 2) }],
      ['f32s', { type: 'array', of: 'f32', value: Float32Array.of(0.5, -0, Infinity) }],
      ['f64s', { type: 'array', of: 'f64', value: Float64Array.of(0.1) }],
      ['bools', { type: 'array', of: 'bool', value: Uint8Array.of(0, 1) }],
      ['strings', { type: 'array', of: 'string', value: ['', 'a', 'ß'] }],
      ['u64s', { type: 'array', of: 'u64', value: [7, 2n ** 63n] }],
      ['i64s', { type: 'array', of: 'i64', value: [-7, -(2n ** 60n)] }],
      ['empty', { type: 'array', of: 'string', value: [] }],
    ];
    const file = readGguf(writeGguf({ metadata, tensors: [] }), 'types');
    expect([...file.metadata]).toEqual(metadata);
    expect(file.version).toBe(3);
  });

  it('keeps tensors, whose data are views where the address allows', () => {
    const half: Tensor = { name: 'h', ne: [3], type: 'F16', data: Uint16Array.of(0x3c00, 1, 0x7bff) };
    const bytes = writeGguf({ metadata: [], tensors: [tensor('a', 2, 3), half, tensor('b', 1, 1, 1, 2)] });
    const aligned = readGguf(bytes, 'aligned').tensors;
    expect([...aligned.values()]).toEqual([tensor('a', 2, 3), half, tensor('b', 1, 1, 1, 2)]);
    expect(aligned.get('a')!.data.buffer).toBe(bytes.buffer);
    const shifted = new Uint8Array(bytes.length + 1);
    shifted.set(bytes, 1);
    expect([...readGguf(shifted.subarray(1), 'shifted').tensors.values()]).toEqual([...aligned.values()]);
  });

  it('alignment 1 to 4096 is kept, as a key unless it is 32', () => {
    for (const alignment of [1, 2, 8, 32, 4096]) {
      const bytes = writeGguf({ metadata: [], tensors: [tensor('a', 3), tensor('b', 5)], alignment });
      const file = readGguf(bytes, 'x');
      expect(file.alignment).toBe(alignment);
      expect(file.metadata.size).toBe(alignment === 32 ? 0 : 1);
      expect(file.tensors.get('b')).toEqual(tensor('b', 5));
      expect(Buffer.compare(rewrite(bytes), bytes)).toBe(0);
    }
  });

  it('version 2 is read as version 3 is', () => {
    const bytes = writeGguf({ metadata: [], tensors: [tensor('a', 3)] });
    bytes[4] = 2;
    expect(readGguf(bytes, 'v2')).toMatchObject({ version: 2 });
    expect(readGguf(bytes, 'v2').tensors.get('a')).toEqual(tensor('a', 3));
  });

  it('gaps, any order of data, and anything behind the last tensor are allowed', () => {
    const bytes = writeGguf({ metadata: [], tensors: [tensor('a', 1), tensor('b', 1), tensor('c', 1)] });
    const places = layoutOf(bytes).places.filter((place) => place.kind === 'data_offset');
    bytes[places[0]!.offset] = 64;
    bytes[places[1]!.offset] = 0;
    bytes[places[2]!.offset] = 128;
    const longer = new Uint8Array(bytes.length + 64 + 5).fill(7);
    longer.set(bytes);
    const { tensors } = readGguf(longer, 'x');
    expect(tensors.get('b')!.data[0]).toBe(0.5);
    expect(tensors.size).toBe(3);
  });
});

describe('malformed files', () => {
  const base = baseFiles()[0]!;
  const { places, head_bytes } = layoutOf(base);
  const find = (kind: Place['kind'], of?: string): Place =>
    places.find((place) => place.kind === kind && (of === undefined || place.of === of))!;

  /** Replaces the number at a place and reads. */
  const withNumber = (place: Place, value: bigint): IsobatchError => {
    const bytes = base.slice();
    for (let i = 0; i < place.size; i++) bytes[place.offset + i] = Number((value >> BigInt(8 * i)) & 0xffn);
    return refusal(() => readGguf(bytes, 'bad.gguf'));
  };

  const cases: [string, Place, bigint, string, string][] = [
    ['magic', find('magic'), 0x46554746n, 'magic', 'not a GGUF file'],
    ['version 1', find('version'), 1n, 'version', 'version 1; only 2 and 3 can be read'],
    ['version 4', find('version'), 4n, 'version', 'version 4'],
    ['big-endian', find('version'), 0x03000000n, 'version', 'big-endian'],
    [
      'more tensors than bytes',
      find('n_tensors'),
      2n ** 40n,
      'n_tensors',
      '1099511627776 of at least 33 bytes each',
    ],
    ['2^64-1 tensors', find('n_tensors'), 2n ** 64n - 1n, 'n_tensors', '18446744073709551615'],
    ['more keys than bytes', find('n_kv'), 2n ** 31n, 'n_kv', '2147483648 of at least 14 bytes each'],
    ['length of a key', find('length'), 2n ** 63n, 'length of metadata[0] key', 'bytes are left'],
    [
      'unknown value type',
      find('value_type', 'llama.block_count'),
      13n,
      'type of metadata[4] "llama.block_count"',
      'unknown value type 13',
    ],
    [
      'nested array',
      find('element_type', 'test.i32s'),
      9n,
      'element type of metadata[25] "test.i32s"',
      'arrays of arrays are not supported',
    ],
    [
      'count of an array',
      find('count', 'test.i32s'),
      2n ** 61n,
      'count of metadata[25] "test.i32s"',
      'of at least 4 bytes',
    ],
    [
      'count of strings',
      find('count', 'test.strings'),
      2n ** 28n,
      'count of metadata[23] "test.strings"',
      'of at least 8 bytes',
    ],
    ['bool of 2', find('value', 'test.bool'), 2n, 'metadata[21] "test.bool"', 'a bool is 0 or 1, not 2'],
    [
      'bool of 2 in an array',
      find('value', 'test.bools'),
      2n,
      'metadata[24] "test.bools"[0]',
      'a bool is 0 or 1, not 2',
    ],
    ['alignment 0', find('alignment'), 0n, 'general.alignment', '0 is not a power of two'],
    ['alignment 24', find('alignment'), 24n, 'general.alignment', '24 is not a power of two'],
    [
      'alignment of another type',
      find('value_type', 'general.alignment'),
      5n,
      'general.alignment',
      'must be u32, not i32',
    ],
    [
      'no dimension',
      find('n_dims', 'output_norm.weight'),
      0n,
      'n_dims of tensor[1] "output_norm.weight"',
      '0 dimensions',
    ],
    [
      'five dimensions',
      find('n_dims', 'output_norm.weight'),
      5n,
      'n_dims of tensor[1] "output_norm.weight"',
      '5 dimensions',
    ],
    [
      'zero dimension',
      find('ne', 'output.weight'),
      0n,
      'ne[0] of tensor[2] "output.weight"',
      'a dimension of 0',
    ],
    [
      'huge dimension',
      find('ne', 'output.weight'),
      2n ** 62n,
      'ne[0] of tensor[2] "output.weight"',
      'is too large',
    ],
    [
      'negative dimension',
      find('ne', 'output.weight'),
      2n ** 64n - 4n,
      'ne[0] of tensor[2] "output.weight"',
      'is too large',
    ],
    [
      'quantized type',
      find('ggml_type', 'output.weight'),
      8n,
      'type of tensor[2] "output.weight"',
      'ggml type 8 is not supported',
    ],
    [
      'unaligned offset',
      find('data_offset', 'output.weight'),
      33n,
      'offset of tensor[2] "output.weight"',
      '33 is not a multiple of the alignment 32',
    ],
    [
      'offset outside',
      find('data_offset', 'output.weight'),
      2n ** 40n,
      'offset of tensor[2] "output.weight"',
      'but the file ends at',
    ],
    [
      'offset beyond 2^53',
      find('data_offset', 'output.weight'),
      2n ** 63n,
      'offset of tensor[2] "output.weight"',
      'is outside the file',
    ],
    [
      'overlap',
      find('data_offset', 'output.weight'),
      0n,
      'offset of tensor[2] "output.weight"',
      'overlap those of tensor[0] "token_embd.weight"',
    ],
  ];

  it.each(cases)('%s', (_, place, value, field, what) => {
    const error = withNumber(place, value);
    expect(error.kind).toBe('gguf');
    expect(error.message).toContain('bad.gguf: ');
    expect(error.message).toContain(what);
    expect(error.detail.field).toBe(field);
    // The place is that of the field, except that a type is only found wrong when its value is used.
    const at = field === 'general.alignment' ? find('alignment').offset : place.offset;
    expect(error.detail.offset).toBe(at);
    expect(error.message).toContain(`${field} at byte ${at}`);
  });

  it('a key that is not UTF-8, an empty one, and one that is there twice', () => {
    const bytes = base.slice();
    const key = find('key', 'general.name');
    bytes[key.offset] = 0xff;
    const error = refusal(() => readGguf(bytes, 'x'));
    expect(error.message).toBe(`x: metadata[1] key at byte ${key.offset}: 12 bytes that are not UTF-8`);

    const empty = base.slice();
    empty[find('length').offset] = 0;
    expect(refusal(() => readGguf(empty, 'x')).message).toContain('metadata[0] key at byte 24: an empty key');

    const twice = base.slice();
    const alignment = find('key', 'test.u16');
    twice.set(new TextEncoder().encode('test.i16'), alignment.offset);
    const again = find('key', 'test.i16').offset - 8;
    expect(refusal(() => readGguf(twice, 'x')).message).toContain(
      `"test.i16" at byte ${again}: the key is there twice`,
    );
  });

  it('a key of more than 65,535 bytes', () => {
    const head = Buffer.alloc(32 + 65_536 + 64);
    head.set(base.subarray(0, 8));
    head.writeBigUInt64LE(1n, 16);
    head.writeBigUInt64LE(65_536n, 24);
    head.fill(0x61, 32, 32 + 65_536);
    expect(refusal(() => readGguf(head, 'x')).message).toContain('65536 bytes; at most 65535 are allowed');
  });

  it('a tensor name that is empty, too long, or there twice', () => {
    const write = (...names: string[]): Uint8Array =>
      writeGguf({ metadata: [], tensors: names.map((name) => tensor(name, 1)) });
    const twice = write('a', 'b');
    const name = layoutOf(twice).places.filter((place) => place.kind === 'name')[1]!;
    twice[name.offset] = 0x61;
    expect(refusal(() => readGguf(twice, 'x')).message).toContain(
      `tensor[1] "a" at byte ${name.offset - 8}: the name is there twice`,
    );

    const long = write('n'.repeat(63), 'b');
    expect(readGguf(long, 'x').tensors.size).toBe(2);
    long[24] = 64; // one byte more: it takes the first of n_dims
    expect(refusal(() => readGguf(long, 'x')).message).toContain(
      'tensor[0] name at byte 24: 64 bytes; at most 63',
    );

    const empty = write('a', 'b');
    empty[24] = 0;
    expect(refusal(() => readGguf(empty, 'x')).message).toContain('tensor[0] name at byte 24: an empty name');
  });

  it('cut off after any byte of the head, and inside the data of the last tensor', () => {
    for (let n = 0; n < head_bytes; n++) {
      const error = refusal(() => readGguf(base.subarray(0, n), 'cut'));
      expect(error.kind).toBe('gguf');
      expect(error.detail.offset).toBeLessThanOrEqual(n);
      expect(error.message).toMatch(/^cut: .+ at byte \d+: /);
    }
    const last = [...readGguf(base, 'x').tensors.values()].at(-1)!;
    const unpadded = base.length - ((32 - (last.data.byteLength % 32)) % 32);
    expect(readGguf(base.subarray(0, unpadded), 'x').tensors.size).toBeGreaterThan(10);
    const error = refusal(() => readGguf(base.subarray(0, unpadded - 1), 'x'));
    expect(error.message).toContain(`${last.data.byteLength} bytes of data end at ${unpadded}`);
  });

  it('sizes whose product overflows are refused dimension by dimension', () => {
    const bytes = writeGguf({ metadata: [], tensors: [tensor('a', 1, 1, 1, 1)] });
    const dims = layoutOf(bytes).places.filter((place) => place.kind === 'ne');
    for (const place of dims) bytes[place.offset + 4] = 1; // 2^32 + 1 each: the product is 1 modulo 2^32
    expect(refusal(() => readGguf(bytes, 'x')).detail.field).toBe('ne[0] of tensor[0] "a"');
    for (const place of dims) {
      bytes[place.offset + 4] = 0;
      bytes[place.offset] = 100;
    }
    expect(refusal(() => readGguf(bytes, 'x')).detail.field).toBe('ne[1] of tensor[0] "a"');
  });

  it('names from the file are shortened and escaped in messages', () => {
    const metadata: [string, GgufValue][] = [[`k\n${'x'.repeat(300)}`, { type: 'bool', value: true }]];
    const bytes = writeGguf({ metadata, tensors: [] });
    bytes[bytes.length - 1] = 9;
    const { message } = refusal(() => readGguf(bytes, 'x'));
    expect(message).toContain('"k\\nxxx');
    expect(message.length).toBeLessThan(200);
  });
});
