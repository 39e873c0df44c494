/** What a context is opened with, in the struct of each release: every member is looked at, by its name in `llama.h`. */
import { describe, expect, it } from 'vitest';
import type { ContextParams } from '../../../contract/subject.ts';
import { contextValues, setContext } from './context-params.ts';
import { contextLayouts } from './layout.ts';
import { imageOf, membersOf } from './layout-testing.ts';

const PARAMS: ContextParams = { n_ctx: 32, n_batch: 16, n_ubatch: 8, n_seq_max: 3, split: 'equal' };

/** The members that differ from the release's defaults, and what they are now. */
function changed(release: string, params: ContextParams): Record<string, number> {
  const { struct, at } = imageOf(membersOf(release));
  const now = struct.slice();
  const { fields } = contextLayouts.find(({ releases }) => releases.includes(release))!;
  setContext(now, params, fields);
  const out: Record<string, number> = {};
  for (const [name, size] of membersOf(release)) {
    const offset = at.get(name)!;
    const part = (bytes: Uint8Array) => bytes.slice(offset, offset + size);
    const [before, after] = [part(struct), part(now)];
    if (before.every((byte, i) => byte === after[i])) continue;
    out[name] = size === 1 ? after[0]! : new DataView(after.buffer).getInt32(0, true);
  }
  // Nothing but members.
  for (const [name, size] of membersOf(release)) now.fill(0, at.get(name)!, at.get(name)! + size);
  for (const [name, size] of membersOf(release)) struct.fill(0, at.get(name)!, at.get(name)! + size);
  expect(now).toEqual(struct);
  return out;
}

const SIZES = { n_batch: 16, n_ubatch: 8, n_seq_max: 3, n_threads: 1, n_threads_batch: 1 };
/** K and V are F32 unless something else is asked for. */
const F32 = { type_k: 0, type_v: 0 };

describe('the struct of a context', () => {
  it.each(['b3889', 'b4234', 'b4980'])('%s: room for fragments, no choices', (release) => {
    expect(changed(release, PARAMS)).toEqual({ n_ctx: 32 + 256, ...SIZES, ...F32 });
    const all = { ...PARAMS, kv_unified: false, swa_full: false, flash_attn: true } as const;
    expect(changed(release, all)).toEqual({ n_ctx: 32 + 256, ...SIZES, ...F32, flash_attn: 1 });
  });

  it('b5640: full windows or small ones', () => {
    expect(changed('b5640', PARAMS)).toEqual({ n_ctx: 32 + 256, ...SIZES, ...F32 });
    const small = { ...PARAMS, swa_full: false, flash_attn: true };
    expect(changed('b5640', small)).toEqual({ n_ctx: 288, ...SIZES, ...F32, swa_full: 0, flash_attn: 1 });
  });

  it('b6122: one cache for all, and room for each sequence where there is one for each', () => {
    expect(changed('b6122', PARAMS)).toEqual({ n_ctx: 288, ...SIZES, ...F32, kv_unified: 1 });
    const apart = changed('b6122', { ...PARAMS, kv_unified: false });
    expect(apart).toEqual({ n_ctx: 3 * 288, ...SIZES, ...F32 });
  });

  it.each(['b6673', 'b8095', 'b8352', 'v0.5.0'])(
    '%s: a type of flash attention, no room for fragments',
    (release) => {
      const plain = { ...SIZES, ...F32, flash_attn_type: 0 };
      expect(changed(release, PARAMS)).toEqual({ n_ctx: 32, ...plain, kv_unified: 1 });
      expect(changed(release, { ...PARAMS, kv_unified: false })).toEqual({ n_ctx: 3 * 32, ...plain });
      const flash = { ...PARAMS, flash_attn: true, swa_full: false };
      expect(changed(release, flash)).toEqual({
        n_ctx: 32,
        ...plain,
        kv_unified: 1,
        flash_attn_type: 1,
        swa_full: 0,
      });
    },
  );

  it.each(['b3889', 'b5640', 'b6122', 'v0.5.0'])('%s: types, threads, embeddings', (release) => {
    const got = changed(release, {
      ...PARAMS,
      type_kv: 'F16',
      n_threads: 3,
      embeddings: true,
      pooling: 'none',
    });
    // F16 is the default.
    expect(got).not.toHaveProperty('type_k');
    expect(got).toMatchObject({ n_threads: 3, n_threads_batch: 3, embeddings: 1, pooling_type: 0 });
    expect(changed(release, PARAMS)).not.toHaveProperty('pooling_type');
  });
});

describe('sizes', () => {
  const fields = contextLayouts.at(-1)!.fields;

  it('n_batch holds a ubatch, and n_ctx a batch: the library ends the process otherwise', () => {
    expect(contextValues({ ...PARAMS, n_ubatch: 20 }, fields)).toMatchObject({ n_batch: 20, n_ubatch: 20 });
    expect(contextValues({ ...PARAMS, n_batch: 64 }, fields)).toMatchObject({ n_batch: 64, n_ctx: 64 });
    const apart = contextValues({ ...PARAMS, n_batch: 64, kv_unified: false }, fields);
    expect(apart.n_ctx).toBe(3 * 64);
  });
});
