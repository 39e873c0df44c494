/**
 * The model of an exported case: the bytes of a recipe, a probe or a golden model, to be written beside the program,
 * or the path of the user's own file. A model that llama.cpp cannot load is refused before anything is written.
 */
import { IsobatchError } from '../../../../contract/errors.ts';
import { recipes } from '../../../../golden/recipes.ts';
import { readGguf } from '../../../../model/gguf.ts';
import { modelBytes, quantizedName, sha256Of } from '../../../campaign-models.ts';
import { sha256OfFile } from '../../../file-hash.ts';
import { FTYPES } from '../quantize.ts';

export interface ExportedModel {
  readonly sha256: string;
  /** Known where the file was read. */
  readonly arch?: string;
  /** Some layers see only a window. */
  readonly windowed?: boolean;
  /** To be written as `model.gguf`; undefined for a file of the user's. */
  readonly bytes?: Uint8Array;
  /** The library quantizes it itself first: the type as users name it, and its number. */
  readonly quantized?: { readonly type: string; readonly ftype: number };
  /** What the program opens if it is told nothing else. */
  readonly path: string;
}

const ARCHITECTURES: ReadonlySet<string> = new Set(recipes.map(({ arch }) => arch));

/**
 * `ran_on_llama`: llama.cpp has loaded it already, whatever it is. Throws `file` or `gguf` for a file that cannot be
 * read, `model` if it is not the one of the case any more, `usage` if llama.cpp would not load it.
 */
export function exportedModel(name: string, sha256: string, ran_on_llama: boolean): ExportedModel {
  const quantized = quantizedName(name);
  if (quantized === undefined) return fileOf(name, sha256, ran_on_llama);
  const { base, type } = quantized;
  const ftype = Object.hasOwn(FTYPES, type) ? FTYPES[type] : undefined;
  if (ftype === undefined)
    throw new IsobatchError('usage', `${name}: llama.cpp knows no type ${type}`, { model: name, type });
  return { ...fileOf(base, sha256, ran_on_llama), quantized: { type, ftype } };
}

function fileOf(name: string, sha256: string, ran_on_llama: boolean): ExportedModel {
  const own = !/^(recipe|probe|golden):/.test(name);
  // A file of the user's may be large, and of types that our reader does not know: it is not read where it need not be.
  const bytes = own && ran_on_llama ? undefined : modelBytes(name);
  const found = bytes === undefined ? hashOfFile(name) : sha256Of(bytes);
  if (sha256 !== '' && found !== sha256)
    throw new IsobatchError(
      'model',
      `the model ${name} has changed since the case was kept (sha256 ${found}, was ${sha256})`,
      { model: name, got: found, want: sha256 },
    );
  const facts = bytes === undefined ? {} : readFacts(bytes, name, ran_on_llama);
  return { sha256: found, ...facts, ...(own ? { path: name } : { bytes, path: 'model.gguf' }) };
}

function hashOfFile(path: string): string {
  try {
    return sha256OfFile(path);
  } catch (error) {
    const why = (error as Error).message;
    throw new IsobatchError('file', `cannot read the model ${path}: ${why}`, { path });
  }
}

function readFacts(bytes: Uint8Array, name: string, ran_on_llama: boolean) {
  const { metadata } = readGguf(bytes, name);
  const arch = String(metadata.get('general.architecture')?.value ?? '');
  if (!ran_on_llama) checkLoadable(name, arch, metadata.has('tokenizer.ggml.model'));
  return { arch, windowed: Number(metadata.get(`${arch}.attention.sliding_window`)?.value ?? 0) > 0 };
}

function checkLoadable(name: string, arch: string, vocabulary: boolean): void {
  const why = !ARCHITECTURES.has(arch)
    ? `its architecture ${JSON.stringify(arch)} is not known to be one of llama.cpp's`
    : vocabulary
      ? undefined
      : 'it names no tokenizer (tokenizer.ggml.model), not even "none"';
  if (why === undefined) return;
  throw new IsobatchError('usage', `the model ${name} cannot be loaded by llama.cpp: ${why}`, {
    model: name,
    arch,
  });
}
