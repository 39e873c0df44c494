/** Recipes: the same bytes on every machine, sizes, and logits that depend on the whole context. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { floatsToHalves, halvesToFloats } from '../model/f16.ts';
import { loadModel } from '../model/load.ts';
import { type Entry, Sequences } from '../oracle/entries.ts';
import { logits } from '../oracle/forward.ts';
import { BYTE_VOCAB } from './recipe-parts.ts';
import {
  buildRecipe,
  engineRecipes,
  overflowOf,
  recipeNames,
  recipeOf,
  recipes,
  sizableRecipes,
} from './recipes.ts';

/** A changed sum means changed weights: every golden figure and kept case of the recipe is then void. */
const SHA256: Readonly<Record<string, string>> = {
  llama: '14c1bfdb7d779fc863cf9d6bb392652e1d5f24dbe39e7ca5b1b6ae2dc47bba76',
  'llama-f16': '81ea2748ce2d0b32f7eeba64e83539d25d15c41c909fae30b284142c1c0f28ae',
  mamba: '964dd4cf66d8a0ac3deddd95467e797b1f319ef4db565801133878bc267a1920',
  'mamba-f16': '27e78e73b0c516f92882c8366c5131ebee33d6ef05f7828abd1e6a7ef3cf3c5e',
  'llama-loadable': 'bf5e37393d1f1a1b0cb717e82eff830f7883aff727e50e9445b417479f1f9010',
  'llama-loadable-f16': '18411feb69d32a12344f431ff9dcdc17c6d09244a39e80a5aeea6d440661d025',
  'mamba-loadable': '599054c2f2f87c9253337782590f04212b3cc19d4500f095062f6e84e243b252',
  'mamba-loadable-f16': '71c49b2e7122db840740db7a788ad5f0c60201beed99ee6be2d6557c8014dffc',
  'llama-moe': '64bbb6638403855e78643af6a3c146f0a83524ce966b2d63ce1b750300e581b7',
  'llama-moe-f16': 'b18e91939699166a159aeb28bcd416e78698d17a4252baa3ece9bc097dda8719',
  mamba2: 'cabf88742b8df970048a0941b7ada2006f364cd97c5a7e585963c1f912ff1628',
  'mamba2-f16': '46fd40f45f84254bb616d11508b251e492af18ee3a8403a20b8b149fd9c871d6',
  'mamba2-1g': '2066fc1561b6342d75829bc648a02b4c69ea7042bb766d1723f6baa2a9f1fd3e',
  'mamba2-8g': 'bdfedff22c9a16561b7bb6586cb3a83e8bed7c2b9b2ee678883a67bd8ada3186',
  'mamba2-fuzz': 'afa202eb6b3af9a11ca3301add64298a15b035fe61f86b89cedbd05327b1ffcf',
  'mamba2-fuzz-f16': 'd88449f67f32b72445a8a1d9a7628e48ded62ddf27da1753629515c3cd7b7656',
  gemma2: '4b4beb854aacc88d859ad46bf06af606190e2da5751ae1ffbde0418ca1ce3033',
  'gemma2-f16': '0d65f87bece63d677f20fb0e8831f17eb2299eb4e296ce51ce72e87ad4819068',
  'gemma2-26': '5a23fa86bdd3f1070c843e61015de0755cc2d26a626b8aefa8be2e34cd3f8e2c',
  'gemma2-fuzz': '437dd8cdcff38585858b4a583fac35d27c8a3beadc5ec1ae863213d7ebceefee',
  'gemma2-fuzz-f16': '5c3e3e1032dcd506673280c74d759f5bda69ae40f55014ad9c3e13e51e534228',
  gemma3: '1fac470f9814b5568730ad678a1af7b9e6f3902eac9b8a8e916c7a6c229473cc',
  'gemma3-f16': '507cd44af7b9e3a27a4d3fe4f0ddedda470d158663ceba11d4543da2dad94f04',
  'gemma3-fuzz': '66fcf3f156d11f4116ee8e74dc3f0a283641cc24e522335a9623af9c8da26cbc',
  'gemma3-fuzz-f16': 'd34e7805e29182cd3ccba3ffc18aba4296edf77494be76894dea6c1d6e6f350f',
  rwkv6: '6148383c3a6ede577579c2ac257e5c1ad8fd71b5194871fa6576abc82a264a66',
  rwkv7: 'e7fe17ae4ee77c68ce774f36f6a7fd47b510c108bbebdaa285f5b62830817102',
  'rwkv6-fuzz': '0e4569b00d56d439181ae9caa70c4f56253a6065e16be2ccdef684c3840665cd',
  'rwkv6-fuzz-f16': '60668ad2c8de7fe83216d22aa78b517a6de139988f3f6be6635d88f140eaa581',
  'rwkv7-fuzz': 'df2d0038df4850edab50f057943ae40ccddeb3ff5eb229639dae291dad81ffc4',
  'rwkv7-fuzz-f16': 'be91c8a17e20f938d919b0d031944b4fea58edef2dc648f6c849a872209847c8',
  jamba: 'ff5563e9038098f31b90aac05137d253817812b4ae4aee5471ba6d7298a77d0e',
  'jamba-moe': 'eba114eeb55402a2f4cf1aa24895e8d36f550b4b2ab433bf900d17f36746d97b',
  'jamba-fuzz': '412950ae0c113895ac39b60f006b6c05a6c7d9ebb87a4fb5bed92241db9d8fae',
  'jamba-fuzz-f16': '756131cc7d0eca9a9ed9622c673e21af917ab8cd673de43a42b09d7ea5f37bc0',
  'falcon-h1': '77bf81a57f3260138737cd6e366d063578e4f1c445dc6337a4f06c7bce104f4f',
  'falcon-h1-fuzz': '0b10053cade1e5967f13c461de9a27d714b80ad639249d36798d044ac49412d9',
  'falcon-h1-fuzz-f16': '0b4e516c5d97d9f6938f4d32f1090edbe5c93d876e12d42c610f7ca310be353e',
  lfm2: '557116a3edca9f9d94ccd5110c28c73484d8bcc628a5b27ce1069f8b415f7d72',
  'lfm2-fuzz': '7159c375fc7685fa947d4a77087b1a855e6cf2d1d3205e29c475ff98af7e37ed',
  'lfm2-fuzz-f16': '63da5181a54169376a2c4787aa29d940e9fb0031e8ad8a0da3952e714621a8cc',
  openelm: 'a9f2763e3e214a0240c481e6f853e36f54fdd914552144b1c6b18ea49a4c31f2',
  bert: '63bb890eeef2e98e7114c338040cb0a740c218a740b8dc92c0fb4fcf2445aa4e',
  t5: '99a6109d5039a29ec9ee8e0e1f5553f888793f82b2e8ee2cd4f013e47895eae2',
  refact: '2bbc1a459ff960443f28353292e18c800ee6c511f853465bc8fa54425bd76b0c',
  'refact-fuzz': 'bb6c07d152ad06d107be96dd678f0a277b697ad570e6ce571df560a06c448048',
  'refact-fuzz-f16': 'bc1f05a8e43d619db7142e9647ff9f7942627dfa59a7abaaa34fd407284e1302',
  'isobatch-symmetric': '3dc223fde808ed9cad40939b92f81210b4e02daa9b6cfedf6e9ead13250856b9',
  llama4: '3ce900165f08d9d6302d4c3cdbf91eea4bd55eee5e6fa3b70d15d34b8d15ea47',
  'llama4-fuzz': 'bedd0660eda60cfbb1d1ac8457b5e84179446bb9ce82fa337fbf5d3637f3b4eb',
  'llama4-fuzz-f16': '6653e32b3f0779099c8dd5670d001c0a1fae2f563cdd30553d2be4d4ef86f907',
  'llama4-dense': '8daa11d7469b4a05f219c312e16e4f4f89d9adfecf793bcb4b676f92d5421346',
};

/** The entries of one sequence. */
function entriesOf(token: readonly number[]): Entry[] {
  return new Sequences(1).decode({
    token,
    pos: token.map((_, i) => i),
    seq_id: token.map(() => [0]),
    logits: token.map(() => true),
  });
}

/** Last logits of one sequence, by the oracle. */
function lastLogits(recipe: string, token: readonly number[]): Float64Array {
  const model = loadModel(buildRecipe(recipe), recipe);
  return logits(model, [entriesOf(token).at(-1)!])[0]!;
}

describe('recipes', () => {
  it('are these, and unknown names are refused with the known ones', () => {
    expect([...recipeNames].sort()).toEqual(Object.keys(SHA256).sort());
    expect(() => buildRecipe('gemma')).toThrow(/unknown recipe "gemma"; known are llama, llama-f16, mamba/);
    for (const recipe of recipes) expect(recipe.describe).not.toBe('');
  });

  it.each(recipes)('$name has the pinned bytes', ({ name, build }) => {
    expect(createHash('sha256').update(build()).digest('hex')).toBe(SHA256[name]);
  });

  it.each(recipes.filter((recipe) => recipe.engine))('$name loads', ({ name, arch, build }) => {
    const model = loadModel(build(), name);
    expect(model.hparams.arch).toBe(arch);
    expect(model.n_params).toBe(
      {
        llama: 19_616,
        mamba: 18_912,
        'llama-loadable': 94_912,
        'mamba-loadable': 82_048,
        mamba2: 93_936,
        'mamba2-1g': 59_508,
        'mamba2-8g': 33_520,
        'mamba2-fuzz': 20_176,
        'llama-moe': 150_976,
        openelm: 96_992,
        rwkv6: 121_472,
        rwkv7: 101_376,
        'rwkv6-fuzz': 24_704,
        'rwkv7-fuzz': 19_776,
        gemma2: 140_544,
        'gemma2-26': 822_016,
        'gemma2-fuzz': 25_504,
        gemma3: 233_696,
        'gemma3-fuzz': 33_376,
        jamba: 166_536,
        'jamba-moe': 117092,
        'jamba-fuzz': 22_860,
        lfm2: 117_792,
        'lfm2-fuzz': 15_784,
        'falcon-h1': 150_832,
        'falcon-h1-fuzz': 20_092,
        'isobatch-symmetric': 25_312,
        refact: 154_656,
        'refact-fuzz': 27_400,
        llama4: 330_688,
        'llama4-fuzz': 32_136,
        'llama4-dense': 23_976,
      }[name.replace('-f16', '')],
    );
    // Those that llama.cpp loads have a vocabulary of bytes.
    expect(model.bos).toBe(model.hparams.n_vocab === BYTE_VOCAB ? 1 : undefined);
  });

  it.each(['llama', 'mamba', 'mamba2', 'rwkv6-fuzz', 'rwkv7-fuzz', 'jamba-fuzz'])(
    '%s in half precision is the same model, rounded',
    (name) => {
      const full = loadModel(buildRecipe(name), name).tensors;
      const half = loadModel(buildRecipe(`${name}-f16`), name).tensors;
      let n_half = 0;
      for (const [tensor, { data }] of full) {
        const other = half.get(tensor)!;
        if (other.type === 'F16') {
          n_half++;
          expect(other.data).toEqual(floatsToHalves(data as Float32Array));
          expect(halvesToFloats(other.data as Uint16Array)).not.toEqual(data);
        } else expect(other.data).toEqual(data);
      }
      expect(n_half).toBeGreaterThan(5);
      expect(recipes.find((recipe) => recipe.name === name)!.build('F16')).toEqual(
        buildRecipe(`${name}-f16`),
      );
    },
  );

  it.each(engineRecipes)('%s: the last logits move when the first of 20 tokens changes', (name) => {
    // A token that is as loud as that drowns all others.
    const n_vocab = overflowOf(`recipe:${name}`) ?? 64;
    for (let s = 0; s < 3; s++) {
      const tokens = Array.from({ length: 20 }, (_, i) => (i * 37 + s * 11) % n_vocab);
      const before = lastLogits(name, tokens);
      const after = lastLogits(name, [(tokens[0]! + 5 + s) % n_vocab, ...tokens.slice(1)]);
      const rms = Math.sqrt(before.reduce((sum, x) => sum + x * x, 0) / before.length);
      const moved = Math.max(...before.map((x, i) => Math.abs(x - after[i]!)));
      expect(rms).toBeGreaterThan(1);
      // The demand is 1e-3; random weights of these gains move them by a good half, so less means a broken recipe.
      expect(moved / rms).toBeGreaterThan(0.1);
    }
  });

  it.each(['jamba-fuzz', 'jamba-fuzz-f16', 'jamba-fuzz@2x16'])(
    '%s has a token that F16 cannot hold',
    (name) => {
      const overflow = overflowOf(`recipe:${name}`)!;
      const model = loadModel(buildRecipe(name), name);
      expect(overflow).toBe(model.hparams.n_vocab - 1);
      for (let s = 0; s < 20; s++) {
        const token = Array.from({ length: 1 + s }, (_, i) => (i * 37 + s * 11) % overflow);
        const entries = entriesOf(token);
        expect(logits(model, entries, { type_kv: 'F16' })).toHaveLength(token.length);
        token[(7 * s) % token.length] = overflow;
        expect(() => logits(model, entriesOf(token), { type_kv: 'F16' })).toThrow(
          expect.objectContaining({ kind: 'memory.overflow' }),
        );
        expect(logits(model, entriesOf(token)).every((row) => row.every(Number.isFinite))).toBe(true);
      }
    },
  );

  it('only they have one: no other recipe, and no model that is none', () => {
    const names = ['jamba', 'jamba-fuzz@Q8_0', 'llama', 'nonsense'].map((name) => `recipe:${name}`);
    expect([...names, 'golden:tiny-jamba', 'x.gguf'].map(overflowOf)).toEqual(new Array(6).fill(undefined));
  });

  it.each(['mamba', 'mamba2'])('lasting memory: %s still feels the first of 200 tokens', (name) => {
    const tokens = Array.from({ length: 200 }, (_, i) => (i * 37 + ((i * i * 7) % 13)) % 64);
    const before = lastLogits(name, tokens);
    const after = lastLogits(name, [tokens[0]! + 5, ...tokens.slice(1)]);
    const rms = Math.sqrt(before.reduce((sum, x) => sum + x * x, 0) / before.length);
    expect(Math.max(...before.map((x, i) => Math.abs(x - after[i]!))) / rms).toBeGreaterThan(1e-3);
  });
});

describe('size variants', () => {
  const sizes = ['1x16', '2x16', '1x24', '1x32', '3x40'];
  const variants = sizableRecipes.flatMap((name) => sizes.map((size) => `${name}@${size}`));

  it.each(variants)('%s loads in that size, and its last logits depend on the first token', (name) => {
    const [, n_layer, n_embd] = /@(\d)x(\d+)/.exec(name)!.map(Number);
    const model = loadModel(buildRecipe(name), name);
    expect(model.hparams).toMatchObject({ n_layer, n_embd, n_vocab: 64 });
    const n_vocab = overflowOf(`recipe:${name}`) ?? 64;
    for (let s = 0; s < 2; s++) {
      // One layer with a window of 4, or chunks of 6, sees no farther; refact sees little of what is far.
      const length = /^(gemma|llama4|refact)/.test(name) ? 4 : 12;
      const tokens = Array.from({ length }, (_, i) => (i * 37 + s * 11) % 64);
      const before = lastLogits(name, tokens);
      const after = lastLogits(name, [(tokens[0]! + 5 + s) % n_vocab, ...tokens.slice(1)]);
      const rms = Math.sqrt(before.reduce((sum, x) => sum + x * x, 0) / before.length);
      expect(Math.max(...before.map((x, i) => Math.abs(x - after[i]!))) / rms).toBeGreaterThan(1e-3);
    }
  });

  it("are smaller, and in the recipe's own size hold its weights", () => {
    for (const name of sizableRecipes) {
      const own = loadModel(buildRecipe(name), name);
      const { n_layer, n_embd } = own.hparams;
      const same = loadModel(buildRecipe(`${name}@${n_layer}x${n_embd}`), name);
      for (const [tensor, { data }] of own.tensors) expect(same.tensors.get(tensor)!.data).toEqual(data);
      expect(loadModel(buildRecipe(`${name}@1x16`), name).n_params * 3).toBeLessThan(own.n_params);
    }
    expect(recipeOf('llama-f16@1x16').describe).toBe('llama-f16 with 1 layer and width 16');
  });

  it.each([
    ['gemma@1x16', /unknown recipe "gemma@1x16"; known are llama/],
    ['gemma3@1x16', /only llama, llama-f16, mamba, .* can be asked for in another size/],
    ['llama-loadable@1x16', /only llama, llama-f16, mamba, .* can be asked for in another size/],
    ['gemma3@1x16', /only llama, llama-f16, mamba, mamba-f16, .* can be asked for in another size/],
    ['llama-loadable@1x16', /only llama, llama-f16, mamba, mamba-f16, .* can be asked for in another size/],
    ['llama@', /after @ come layers and width, as in llama@1x16/],
    ['llama@1x16x2', /after @ come layers and width/],
    ['llama@01x16', /after @ come layers and width/],
    ['llama@9x16', /layers must be 1 to 8/],
    ['mamba@1x12', /the width must be a multiple of 8, 16 to 64/],
    ['mamba@1x8', /the width must be a multiple of 8, 16 to 64/],
    ['mamba@1x128', /the width must be a multiple of 8, 16 to 64/],
  ])('%s is refused with the reason', (name, message) => {
    expect(() => buildRecipe(name)).toThrow(message);
  });
});
