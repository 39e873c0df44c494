/**
 * Recipes for real llama.cpp: what can be checked without it. Files parse back, are small, all F32 and finite, and
 * tensors have the shapes that follow from the keys (spec: libllama.md 1); our own loader takes them, or refuses them by
 * their architecture.
 */
import { describe, expect, it } from 'vitest';
import { type GgufFile, readGguf } from '../model/gguf.ts';
import { loadModel } from '../model/load.ts';
import { checkModelName, modelBytes } from '../properties/campaign-models.ts';
import { recipes } from './recipes.ts';

const foreign = recipes.filter(
  ({ name, describe }) => describe.includes(' for llama.cpp: ') && !/-f16$|-\dg$/.test(name),
);
const fileOf = (name: string): GgufFile => readGguf(modelBytes(`recipe:${name}`), name);

/** A key of the architecture: a number, a text, a flag or the numbers of the layers. */
function keyOf(file: GgufFile, key: string): unknown {
  const { value } = file.metadata.get(`${file.metadata.get('general.architecture')!.value}.${key}`)!;
  return value instanceof Int32Array ? [...value] : value;
}

const shapeOf = (file: GgufFile, tensor: string) => file.tensors.get(tensor)?.ne;

/** Names behind `blk.I.`, without suffix, in the order of the file. */
function partsOf(file: GgufFile, layer: string): string[] {
  const names = [...file.tensors.keys()].filter((name) => name.startsWith(`${layer}.`));
  return names.map((name) => name.slice(layer.length + 1).replace(/\.weight$/, ''));
}

const ATTENTION = ['attn_q', 'attn_k', 'attn_v', 'attn_output'];
const FFN = ['ffn_gate', 'ffn_up', 'ffn_down'];
const HEAD_NORMS = ['attn_q_norm', 'attn_k_norm'];
const CONV = ['ssm_conv1d', 'ssm_conv1d.bias'];
const MAMBA = ['ssm_in', ...CONV, 'ssm_x', 'ssm_dt', 'ssm_dt.bias', 'ssm_a', 'ssm_d', 'ssm_out'];
const MAMBA2 = ['ssm_in', ...CONV, 'ssm_dt.bias', 'ssm_a', 'ssm_d', 'ssm_out'];

describe('recipes for real llama.cpp', () => {
  it('are these, and the names of models', () => {
    expect(foreign.map((recipe) => recipe.name).join(' ')).toBe(
      'mamba2 gemma2 gemma2-26 gemma3 rwkv6 rwkv7 jamba jamba-moe falcon-h1 lfm2 openelm bert t5 llama4 refact',
    );
    for (const { name } of foreign) expect(() => checkModelName(`recipe:${name}`)).not.toThrow();
  });

  it.each(foreign)('$name: a small file of finite F32 numbers', ({ name, arch, engine, build }) => {
    const bytes = build();
    expect(bytes.length).toBeLessThan(4e6);
    const file = readGguf(bytes, name);
    expect(file.metadata.get('general.architecture')!.value).toBe(arch);
    // Six heads of 16 numbers, where no other recipe has a number of heads that is no power of two.
    const n_embd = name === 'refact' ? 96 : 64;
    expect(keyOf(file, 'embedding_length')).toBe(n_embd);
    expect(keyOf(file, 'context_length')).toBe(512);
    expect(shapeOf(file, 'token_embd.weight')).toEqual([n_embd, 259]);
    expect(file.metadata.get('tokenizer.ggml.tokens')!.value).toHaveLength(259);
    expect([...file.tensors.values()].filter(({ type }) => type !== 'F32')).toEqual([]);
    for (const { data } of file.tensors.values()) {
      expect(data.every(Number.isFinite)).toBe(true);
      // None was forgotten: random numbers are hardly ever zero.
      expect(data.some((x) => x === 0)).toBe(false);
    }
    if (engine) expect(loadModel(bytes, name).hparams.arch).toBe(arch);
    else expect(() => loadModel(bytes, name)).toThrow(/general\.architecture .* is not known/);
  });

  it.each([
    ['mamba2', 'blk', 2],
    ['mamba2-1g', 'blk', 2],
    ['mamba2-8g', 'blk', 2],
    ['gemma2', 'blk', 4],
    ['gemma2-26', 'blk', 26],
    ['gemma3', 'blk', 7],
    ['rwkv6', 'blk', 2],
    ['rwkv7', 'blk', 2],
    ['jamba', 'blk', 3],
    ['jamba-moe', 'blk', 2],
    ['falcon-h1', 'blk', 2],
    ['lfm2', 'blk', 3],
    ['openelm', 'blk', 3],
    ['bert', 'blk', 2],
    ['t5', 'enc.blk', 2],
    ['t5', 'dec.blk', 2],
    ['llama4', 'blk', 4],
    ['refact', 'blk', 2],
  ])('%s: as many layers of %s as its key says (%i)', (name, blk, n_layer) => {
    const file = fileOf(name);
    expect(keyOf(file, 'block_count')).toBe(n_layer);
    const pattern = new RegExp(`^${blk.replace('.', '\\.')}\\.(\\d+)\\.`);
    const layers = [...file.tensors.keys()].map((tensor) => pattern.exec(tensor)?.[1]);
    expect(new Set(layers.filter((layer) => layer !== undefined)).size).toBe(n_layer);
  });
});

describe('shapes', () => {
  it('gemma: tied, windows of 8, norms around each part; gemma3 norms its heads', () => {
    const parts = ['attn_norm', ...ATTENTION, 'post_attention_norm', 'ffn_norm', ...FFN, 'post_ffw_norm'];
    for (const name of ['gemma2', 'gemma2-26', 'gemma3']) {
      const file = fileOf(name);
      expect(keyOf(file, 'attention.sliding_window')).toBe(8);
      expect(file.tensors.has('output.weight')).toBe(false);
      const normed = name === 'gemma3' ? HEAD_NORMS : [];
      expect(partsOf(file, 'blk.1').sort()).toEqual([...parts, ...normed].sort());
    }
    expect(keyOf(fileOf('gemma2'), 'attn_logit_softcapping')).toBe(10);
  });

  it('mamba2: one matrix for gate, inputs, B, C of two groups and steps', () => {
    const file = fileOf('mamba2');
    expect(partsOf(file, 'blk.1').sort()).toEqual(['attn_norm', ...MAMBA2, 'ssm_norm'].sort());
    expect(shapeOf(file, 'blk.0.ssm_in.weight')).toEqual([64, 2 * 128 + 2 * 2 * 16 + 8]);
    expect(shapeOf(file, 'blk.0.ssm_conv1d.weight')).toEqual([4, 192]);
    expect(shapeOf(file, 'blk.0.ssm_norm.weight')).toEqual([64, 2]);
    expect(shapeOf(file, 'blk.0.ssm_a')).toEqual([1, 8]);
  });

  it('jamba and lfm2: layers without key and value heads are recurrent', () => {
    const kinds = {
      jamba: [...MAMBA, 'ssm_dt_norm', 'ssm_b_norm', 'ssm_c_norm'],
      lfm2: ['shortconv.in_proj', 'shortconv.conv', 'shortconv.out_proj'],
    };
    for (const [name, recurrent] of Object.entries(kinds)) {
      const file = fileOf(name);
      expect(keyOf(file, 'attention.head_count_kv')).toEqual([0, 2, 0]);
      const attention = name === 'lfm2' ? [...ATTENTION, ...HEAD_NORMS] : ATTENTION;
      [recurrent, attention, recurrent].forEach((mixer, i) => {
        expect(partsOf(file, `blk.${i}`)).toEqual(['attn_norm', ...mixer, 'ffn_norm', ...FFN]);
      });
    }
  });

  it('falcon-h1: both in every layer, and a norm without suffix', () => {
    const file = fileOf('falcon-h1');
    expect(partsOf(file, 'blk.1')).toEqual(['attn_norm', ...MAMBA2, ...ATTENTION, 'ffn_norm', ...FFN]);
    expect(file.tensors.has('blk.1.ffn_norm')).toBe(true);
    expect(file.tensors.has('blk.1.ffn_norm.weight')).toBe(false);
  });

  it('openelm: heads and widths of each layer are those of its keys', () => {
    const file = fileOf('openelm');
    const n_head = keyOf(file, 'attention.head_count') as number[];
    const n_head_kv = keyOf(file, 'attention.head_count_kv') as number[];
    const n_ff = keyOf(file, 'feed_forward_length') as number[];
    expect(n_head).toEqual([4, 2, 4]);
    n_head.forEach((heads, i) => {
      expect(shapeOf(file, `blk.${i}.attn_qkv.weight`)).toEqual([64, (heads + 2 * n_head_kv[i]!) * 16]);
      expect(shapeOf(file, `blk.${i}.attn_output.weight`)).toEqual([heads * 16, 64]);
      expect(shapeOf(file, `blk.${i}.ffn_up.weight`)).toEqual([64, n_ff[i]]);
    });
  });

  it('rwkv: small products of width 8, lerps for each input', () => {
    const six = fileOf('rwkv6');
    expect(shapeOf(six, 'blk.0.time_mix_w1.weight')).toEqual([64, 40]);
    expect(shapeOf(six, 'blk.0.time_mix_w2.weight')).toEqual([8, 64, 5]);
    expect(shapeOf(six, 'blk.1.time_mix_first.weight')).toEqual([16, 4]);
    const seven = fileOf('rwkv7');
    expect(shapeOf(seven, 'blk.0.time_mix_lerp_fused.weight')).toEqual([64, 1, 1, 6]);
    for (const part of ['w', 'a', 'v', 'g']) {
      expect(shapeOf(seven, `blk.1.time_mix_${part}1.weight`)).toEqual([64, 8]);
      expect(shapeOf(seven, `blk.1.time_mix_${part}2.weight`)).toEqual([8, 64]);
    }
  });

  it('bert: a row for each position of its context', () => {
    const file = fileOf('bert');
    expect(shapeOf(file, 'position_embd.weight')).toEqual([64, keyOf(file, 'context_length')]);
    expect(shapeOf(file, 'token_types.weight')).toEqual([64, 2]);
    expect(keyOf(file, 'attention.causal')).toBe(false);
    expect(file.tensors.has('output.weight')).toBe(false);
  });

  it('t5: relative positions in the first layer of each side, cross attention in the decoder', () => {
    const file = fileOf('t5');
    const named = (pattern: RegExp) => [...file.tensors.keys()].filter((name) => pattern.test(name));
    expect(named(/rel_b/)).toEqual(['enc.blk.0.attn_rel_b.weight', 'dec.blk.0.attn_rel_b.weight']);
    expect(named(/^dec.*cross_attn_/)).toHaveLength(2 * 5);
    expect(named(/^enc.*cross_attn_/)).toEqual([]);
  });

  it('llama4: experts in every second layer', () => {
    const file = fileOf('llama4');
    expect([0, 1, 2, 3].map((i) => shapeOf(file, `blk.${i}.ffn_down_exps.weight`))).toEqual([
      undefined,
      [32, 64, 16],
      undefined,
      [32, 64, 16],
    ]);
    expect([0, 1, 2, 3].map((i) => file.tensors.has(`blk.${i}.ffn_up.weight`))).toEqual([
      true,
      false,
      true,
      false,
    ]);
  });
});
