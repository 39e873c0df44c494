/**
 * Legal differences of the releases: what callers may rely on in one era and not in another. The one table of them;
 * what a library shows by itself (layouts, names of functions) is in `layout.ts` and `library.ts`.
 */
import type { LegalDifferences } from '../../../contract/subject.ts';
import type { Library } from './library.ts';

/** Eras, oldest first, told apart by what a library exports and by the layout of its parameters. */
export const ERAS = [
  'b3889',
  'b4234',
  'b4980',
  'b5640',
  'b6122',
  'b6673',
  'b8095',
  'b8352',
  'v0.5.0',
] as const;
export type Era = (typeof ERAS)[number];

/** The era of a build: that of the last release here whose marks it has. */
export function eraOf(library: Library): Era {
  if (library.layout.name === 'n_rs_seq') return 'v0.5.0';
  if (library.layout.name === 'samplers')
    return library.has('llama_model_init_from_user') ? 'b8352' : 'b8095';
  if (library.layout.name === 'flash_attn_type') return 'b6673';
  if (library.layout.name === 'kv_unified') return 'b6122';
  if (library.layout.name === 'swa_full') return 'b5640';
  if (library.has('llama_kv_self_seq_rm')) return 'b4980';
  return library.files.libggml_base === undefined ? 'b3889' : 'b4234';
}

/** True if `era` is `first` or younger. */
export function since(era: Era, first: Era): boolean {
  return ERAS.indexOf(era) >= ERAS.indexOf(first);
}

export function legalOf(era: Era): LegalDifferences {
  return {
    refuses: since(era, 'b6122') ? ['batch.token', 'batch.empty'] : ['batch.token'],
    shared_needs_unified: true,
    no_empty_ranges: true,
    ...(since(era, 'b8095')
      ? { unshared: era === 'v0.5.0' ? (['recurrent'] as const) : (['recurrent', 'hybrid'] as const) }
      : {}),
    ...(since(era, 'b5640') ? {} : { no_pos_min: true }),
    ...(since(era, 'b5640') ? {} : { pos_of_empty: 0 }),
  };
}
