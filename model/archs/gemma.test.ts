/** gemma2 and gemma3 from files: hyperparameters, defaults, which layers have windows, and what is refused. */
import { describe, expect, it } from 'vitest';
import { f32, text, u32 } from '../../golden/recipe-parts.ts';
import { buildRecipe } from '../../golden/recipes.ts';
import { type GgufValue, readGguf, writeGguf } from '../gguf.ts';
import { loadModel } from '../load.ts';
import type { HparamsOf, Tensor } from '../types.ts';

type Gemma = HparamsOf<'gemma2'> | HparamsOf<'gemma3'>;
type Keys = Readonly<Record<string, GgufValue | undefined>>;

/** A recipe with some keys of its architecture changed (undefined: removed), and a tensor more. */
function load(recipe: string, keys: Keys = {}, extra?: string): Gemma {
  const file = readGguf(buildRecipe(recipe), recipe);
  const arch = file.metadata.get('general.architecture')!.value;
  const metadata = new Map<string, GgufValue | undefined>(file.metadata);
  for (const [key, value] of Object.entries(keys)) metadata.set(`${arch}.${key}`, value);
  const tensors: Tensor[] = [...file.tensors.values()];
  if (extra) tensors.push({ name: extra, ne: [1], type: 'F32', data: new Float32Array(1) });
  const present = [...metadata].filter((entry): entry is [string, GgufValue] => entry[1] !== undefined);
  return loadModel(writeGguf({ metadata: present, tensors }), 'm.gguf').hparams as Gemma;
}

describe('gemma2', () => {
  it('hyperparameters', () => {
    expect(load('gemma2')).toMatchObject({
      arch: 'gemma2',
      n_embd_head: 16,
      n_rot: 16,
      n_swa: 8,
      score_divisor: 16,
      attn_softcap: 10,
      final_softcap: 15,
      rope_freq_base: 10_000,
      rope_freq_base_swa: 10_000,
    });
    expect(load('gemma2').windowed).toEqual([true, false, true, false]);
  });

  it('defaults: a window of 4096, caps of 50 and 30', () => {
    const none = { 'attention.sliding_window': undefined, attn_logit_softcapping: undefined };
    const h = load('gemma2', { ...none, final_logit_softcapping: undefined });
    expect(h).toMatchObject({ n_swa: 4096, attn_softcap: 50, final_softcap: 30 });
  });

  it('windows turn by the angles of the others, if nothing else is said', () => {
    expect(load('gemma2', { 'rope.freq_base': f32(500) })).toMatchObject({ rope_freq_base_swa: 500 });
    const keys = { 'rope.freq_base_swa': f32(700), 'rope.scaling.factor': f32(4) };
    const scaled = { rope_freq_base_swa: 700, rope_freq_scale: 0.25, rope_freq_scale_swa: 0.25 };
    expect(load('gemma2', keys)).toMatchObject(scaled);
  });

  it.each([
    ['attention.sliding_window', u32(0), /key gemma2\.attention\.sliding_window is 0; wanted/],
    ['attention.sliding_window_pattern', u32(0), /key gemma2\.attention\.sliding_window_pattern is 0/],
    ['attn_logit_softcapping', f32(0), /key gemma2\.attn_logit_softcapping is 0/],
    ['rope.scaling.type', text('yarn'), /key gemma2\.rope\.scaling\.type is "yarn"/],
    ['expert_count', u32(4), /expert_count" is not supported for the architecture gemma2/],
    [
      'attention.causal_mask',
      u32(1),
      /key gemma2\.attention\.causal_mask is not known|not supported|unknown/,
    ],
  ])('%s = %j is refused', (key, value, message) => {
    expect(() => load('gemma2', { [key]: value })).toThrow(message);
  });

  it('an output matrix and norms of heads are refused, with the reason', () => {
    expect(() => load('gemma2', {}, 'output.weight')).toThrow(/the output of gemma2 is token_embd\.weight/);
    expect(() => load('gemma2', {}, 'blk.0.attn_q_norm.weight')).toThrow(/belongs to gemma3/);
  });
});

describe('gemma3', () => {
  it('hyperparameters', () => {
    expect(load('gemma3')).toMatchObject({
      arch: 'gemma3',
      n_swa: 8,
      attn_softcap: 0,
      final_softcap: 0,
      rope_freq_base: 1e6,
      rope_freq_scale: 1,
      rope_freq_base_swa: 10_000,
      rope_freq_scale_swa: 1,
    });
    expect(load('gemma3').windowed).toEqual([true, true, true, true, true, false, true]);
  });

  it('windows have no scale; without a window all layers are full', () => {
    const scaled = load('gemma3', { 'rope.scaling.factor': f32(8) });
    expect(scaled).toMatchObject({ rope_freq_scale: 1 / 8, rope_freq_scale_swa: 1 });
    for (const value of [undefined, u32(0)]) {
      const h = load('gemma3', { 'attention.sliding_window': value });
      expect(h.n_swa).toBe(0);
      expect(h.windowed).not.toContain(true);
    }
  });

  it('caps of logits only where the key is; none of scores', () => {
    expect(load('gemma3-fuzz').final_softcap).toBe(12);
    expect(() => load('gemma3', { attn_logit_softcapping: f32(50) })).toThrow(/attn_logit_softcapping/);
  });
});
