/**
 * Finds the trained models, texts and figures that the package carries in `golden/`. The same code runs from source
 * (`golden/assets.ts`) and from the build (`dist/golden/assets.js`), where the data stay in `golden/` beside `dist/`.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { IsobatchError } from '../contract/errors.ts';

/** The trained models, as files of `golden/models` without their ending. */
export const goldenModelNames = [
  'tiny-llama',
  'tiny-mamba',
  'tiny-mamba2',
  'tiny-jamba',
  'tiny-rwkv7',
  'tiny-gemma2',
] as const;
/** The texts, as files of `golden/texts` without their ending. */
export const goldenTextNames = ['recall64k', 'prose'] as const;

/** Places where the data may lie, seen from this file: in source beside it, in a build two folders up. */
export function goldenRoots(module_url: string): string[] {
  return ['.', '../../golden'].map((path) => fileURLToPath(new URL(path, module_url)));
}

const ROOTS = goldenRoots(import.meta.url);

/** The folder that has `models/` and `texts/`. Throws `file` if there is none. */
export function goldenFolder(): string {
  const found = ROOTS.find((root) => existsSync(join(root, 'models')) && existsSync(join(root, 'texts')));
  if (found !== undefined) return found;
  throw new IsobatchError(
    'file',
    `the golden models and texts are missing; looked in ${ROOTS.join(' and ')}`,
    {
      looked_in: ROOTS,
    },
  );
}

/** The bytes of a trained model, such as `tiny-llama`. Throws `file`. */
export function goldenModel(name: string): Uint8Array {
  return asset('models', name, '.gguf', goldenModelNames);
}

/** The bytes of a text, such as `recall64k`. Throws `file`. */
export function goldenText(name: string): Uint8Array {
  return asset('texts', name, '.txt', goldenTextNames);
}

function asset(folder: string, name: string, ending: string, known: readonly string[]): Uint8Array {
  // Only plain names: a path could leave the folder.
  const path = join(goldenFolder(), folder, `${name}${ending}`);
  if (!known.includes(name) || !existsSync(path)) {
    throw new IsobatchError(
      'file',
      `no golden file ${folder}/${name}${ending}; known are ${known.join(', ')}`,
      {
        folder,
        name,
        known,
      },
    );
  }
  return readFileSync(path);
}

/** What implementations of a model and text agree on, to be met by any engine. */
export interface GoldenFigures {
  readonly source: string;
  readonly definition: string;
  readonly texts: Readonly<
    Record<string, { readonly bytes: number; readonly sha256?: string; readonly in_package: boolean }>
  >;
  readonly models: Readonly<
    Record<
      string,
      { readonly sha256: string; readonly recall64k: TextFigures; readonly wikitext: TextFigures }
    >
  >;
}

/** Perplexities of one model on one text, by implementation. */
export interface TextFigures {
  readonly ppl: { readonly torch: number; readonly libllama: number };
  readonly half: { readonly torch: number; readonly libllama: number };
  /** The half score of a model that reads only tokens 256 .. 511: how far a lost state moves it. */
  readonly half_state_lost_at_256: number;
  /** Of chunks 0 and 1 alone, in float64: for quick checks. */
  readonly first_2_chunks?: { readonly ppl: number; readonly half: number };
}

/** The pinned perplexities, `figures.json`. Throws `file`. */
export function goldenFigures(): GoldenFigures {
  const path = join(goldenFolder(), 'figures.json');
  if (!existsSync(path)) throw new IsobatchError('file', `the golden figures are missing: ${path}`, { path });
  return JSON.parse(readFileSync(path, 'utf8')) as GoldenFigures;
}
