/** What noise does to the weights of a file, and that it is of the size that the rules state. */
import { describe, expect, it } from 'vitest';
import { buildRecipe } from '../golden/recipes.ts';
import { halvesToFloats } from '../model/f16.ts';
import { readGguf, writeGguf } from '../model/gguf.ts';
import { U16, U32 } from '../oracle/rounding.ts';
import { type HalfPlaces, halfNoiseOf, noiseOf, noisyCopy } from './noise.ts';
import { Random } from './random.ts';

const FINE: HalfPlaces = { attention: false, sums: false, activation: 'none' };
const llama = readGguf(buildRecipe('llama-loadable'), 'llama');

/** Relative changes of the weights of a tensor. */
function changes(copy: Uint8Array, name: string, from = llama): number[] {
  const { type, data } = from.tensors.get(name)!;
  const before = type === 'F32' ? (data as Float32Array) : halvesToFloats(data as Uint16Array);
  const after = readGguf(copy, 'copy').tensors.get(name)!.data;
  return [...before].map((w, i) => after[i]! / w - 1);
}

function variance(values: readonly number[]): number {
  return values.reduce((sum, x) => sum + x * x, 0) / values.length;
}

describe('a copy with noise', () => {
  const amplify = 2 ** 12;
  const copy = noisyCopy(llama, { number: 0, amplify, half: FINE });

  it('has the same metadata and tensors, and no tensor keeps its weights', () => {
    const read = readGguf(copy, 'copy');
    expect([...read.metadata]).toEqual([...llama.metadata]);
    expect([...read.tensors.keys()]).toEqual([...llama.tensors.keys()]);
    for (const [name, t] of llama.tensors) {
      expect(read.tensors.get(name)!.ne).toEqual(t.ne);
      expect(variance(changes(copy, name)), name).toBeGreaterThan(0);
    }
  });

  it('is another one for each number, and the same for the same', () => {
    const again = noisyCopy(llama, { number: 0, amplify, half: FINE });
    const other = noisyCopy(llama, { number: 1, amplify, half: FINE });
    expect(Buffer.compare(copy, again)).toBe(0);
    expect(Buffer.compare(copy, other)).not.toBe(0);
  });

  it('moves the weights of a product by what verdicts.md states for a sum', () => {
    const n = 96;
    // What was multiplied before it is read adds 5 u^2 for each column.
    const want = (U32 * amplify) ** 2 * ((n / 6 + 1) / 3 + n / 9 + 5);
    const got = variance(changes(copy, 'blk.0.ffn_down.weight'));
    expect(got / want).toBeGreaterThan(0.7);
    expect(got / want).toBeLessThan(1.4);
  });

  it('moves all weights of one output by one error in common', () => {
    const n = 64;
    const all = changes(copy, 'output.weight');
    const rows = Array.from({ length: all.length / n }, (_, r) => all.slice(r * n, (r + 1) * n));
    const means = rows.map((row) => row.reduce((a, b) => a + b, 0) / n);
    // Of its own errors and those of the columns a mean keeps 1/n.
    const want = (U32 * amplify) ** 2 * (n / 9 + ((n / 6 + 1) / 3 + 5) / n);
    expect(variance(means) / want).toBeGreaterThan(0.7);
    expect(variance(means) / want).toBeLessThan(1.4);
  });

  it('moves them in proportion', () => {
    const name = 'blk.1.attn_q.weight';
    const small = changes(noisyCopy(llama, { number: 0, amplify: 2 ** 10, half: FINE }), name);
    changes(copy, name).forEach((x, i) => {
      // Float32 weights themselves are rounded.
      expect(Math.abs(x - 4 * small[i]!)).toBeLessThan(8 * U32);
    });
  });

  it('leaves the frequencies of rotation alone, which are the same on every route', () => {
    const data = Float32Array.from({ length: 8 }, (_, i) => 1 + i);
    const file = readGguf(
      writeGguf({
        metadata: llama.metadata,
        tensors: [...llama.tensors.values(), { name: 'rope_freqs.weight', ne: [8], type: 'F32', data }],
      }),
      'with frequencies',
    );
    const moved = noisyCopy(file, { number: 3, amplify, half: FINE });
    expect(variance(changes(moved, 'rope_freqs.weight', file))).toBe(0);
  });

  it('makes F32 of F16 and moves what reads it by roundings to F16', () => {
    const file = readGguf(buildRecipe('llama-loadable-f16'), 'f16');
    const moved = noisyCopy(file, { number: 0, amplify: 1, half: FINE });
    expect(readGguf(moved, 'copy').tensors.get('blk.0.ffn_up.weight')!.type).toBe('F32');
    const got = variance(changes(moved, 'blk.0.ffn_up.weight', file).filter(Number.isFinite));
    expect(got / ((U16 * U16) / 3)).toBeGreaterThan(0.6);
    expect(got / ((U16 * U16) / 3)).toBeLessThan(1.5);
  });

  it('moves time steps by what softplus loses: more where they are small', () => {
    const bias = Float32Array.from({ length: 200 }, (_, i) => (i < 100 ? -6 : 1));
    const tensor = { name: 'blk.0.ssm_dt.bias', ne: [200], type: 'F32' as const, data: bias };
    const file = readGguf(writeGguf({ metadata: [], tensors: [tensor] }), 'steps');
    const moved = changes(noisyCopy(file, { number: 0, amplify, half: FINE }), tensor.name, file);
    const [small, large] = [variance(moved.slice(0, 100)) * 36, variance(moved.slice(100))];
    expect(small / large).toBeGreaterThan(1000);
  });
});

describe('rules', () => {
  it('give noise to every tensor of every recipe but frequencies', () => {
    const r = new Random(1, 2, 3);
    for (const arch of ['mamba2', 'gemma3', 'rwkv6', 'rwkv7', 'jamba', 'lfm2', 'openelm', 'falcon-h1']) {
      for (const { name, ne } of readGguf(buildRecipe(arch), arch).tensors.values()) {
        const { own, row, column } = noiseOf(name, ne, r.between(1, 8));
        expect(own + row + column, `${arch} ${name}`).toBeGreaterThan(0);
      }
    }
  });

  it('put roundings to F16 where they happen', () => {
    const none = { own: 0, row: 0, column: 0 };
    const places: HalfPlaces = { attention: true, sums: false, activation: 'none' };
    expect(halfNoiseOf('blk.0.attn_k.weight', 'F32', places).row).toBeCloseTo(1 / 3);
    expect(halfNoiseOf('blk.0.ffn_down.weight', 'F32', places)).toEqual(none);
    expect(halfNoiseOf('blk.0.attn_k.weight', 'F32', FINE)).toEqual(none);
    const flash = halfNoiseOf('blk.0.attn_output.weight', 'F32', { ...places, sums: true });
    expect(flash.column).toBeGreaterThan(3 * halfNoiseOf('blk.0.attn_output.weight', 'F32', places).column);
    const table: HalfPlaces = { ...FINE, activation: 'feed-forward' };
    expect(halfNoiseOf('blk.0.ffn_down.weight', 'F32', table).column).toBeCloseTo(1 / 3);
  });
});
