/**
 * What differs between releases of llama.cpp and cannot be seen in the library itself: the one table of it. Each rule
 * has the releases that it holds for and where it comes from. Rules of the first part are legal differences, inside of
 * which generators and comparisons stay (`LegalDifferences`); those of the second part are what the adapter minds when
 * it calls. What a library shows by itself (layouts, names of functions) is in `layout.ts` and `library.ts`.
 *
 * "Measured" means: on the nine releases here, with hand-made calls on llama, mamba and jamba. A build between two of
 * them counts as the older one, so a rule that demands something ends with the last era of which every build keeps it.
 */
import type { MemoryKind } from '../../../contract/batch.ts';
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
const [OLDEST, YOUNGEST] = [ERAS[0], 'v0.5.0'] as const;

/** The era of a build: that of the last release here whose marks it has. */
export function eraOf(library: Pick<Library, 'layout' | 'has' | 'files'>): Era {
  if (library.layout.name === 'n_rs_seq') return 'v0.5.0';
  if (library.layout.name === 'samplers')
    return library.has('llama_model_init_from_user') ? 'b8352' : 'b8095';
  if (library.layout.name === 'flash_attn_type') return 'b6673';
  if (library.layout.name === 'kv_unified') return 'b6122';
  if (library.layout.name === 'swa_full') return 'b5640';
  if (library.has('llama_kv_self_seq_rm')) return 'b4980';
  return library.files.libggml_base === undefined ? 'b3889' : 'b4234';
}

/** What a rule says. Those without a value are there or not. */
type Says =
  | { readonly rule: 'refuses'; readonly value: string }
  | { readonly rule: 'unshared' | 'unmoved'; readonly value: MemoryKind }
  | { readonly rule: 'pos_of_empty'; readonly value: number }
  | {
      readonly rule:
        | 'shared_needs_unified'
        | 'no_empty_ranges'
        | 'silent_windows'
        | 'no_pos_min'
        | 'moves_all_owners'
        | 'pooled_ids_below_tokens'
        | 'rollback_once'
        | 'rollback_in_ubatch';
    }
  | { readonly rule: DriverRule };

/** Rules of the adapter. */
export type DriverRule = 'v_f32' | 'flash_f32' | 'completes_positions' | 'small_windows';

export type ReleaseRule = Says & {
  /** The first and the last release that it holds for. */
  readonly first: Era;
  readonly last: Era;
  /** One sentence for people. */
  readonly what: string;
  /** A file, a pull request or an issue of llama.cpp, and whether it was measured. */
  readonly source: string;
};

const PULL = 'https://github.com/ggml-org/llama.cpp/pull/';

export const RULES: readonly ReleaseRule[] = [
  {
    rule: 'refuses',
    value: 'batch.token',
    first: OLDEST,
    last: YOUNGEST,
    what: 'a token outside the vocabulary is refused',
    source:
      'include/llama.h, llama_decode: -1, invalid input batch; measured (b4980 throws instead, which is its fault)',
  },
  {
    rule: 'refuses',
    value: 'batch.empty',
    first: OLDEST,
    last: YOUNGEST,
    what: 'a batch without tokens is refused',
    source: `src/llama-context.cpp (src/llama.cpp before b4980): "n_tokens == 0", -1; ${PULL}9966; measured`,
  },
  {
    rule: 'refuses',
    value: 'ops.partial',
    first: OLDEST,
    last: 'b6122',
    what: 'no part of a recurrent state is removed; later the parts before its last position are, and nothing changes',
    source: `include/llama.h, llama_memory_seq_rm: false if a partial sequence cannot be removed; ${PULL}17009; measured`,
  },
  {
    rule: 'shared_needs_unified',
    first: OLDEST,
    last: YOUNGEST,
    what: 'tokens of several sequences, and copies of a range, need kv_unified where it is a choice (since b6122)',
    source: `${PULL}14363; measured: rc 1, or an assertion (is_full)`,
  },
  {
    rule: 'unshared',
    value: 'recurrent',
    first: 'b8095',
    last: YOUNGEST,
    what: 'recurrent memory takes no tokens of several sequences',
    source: `${PULL}16442 (equal splits are sequential); measured: rc 1`,
  },
  {
    rule: 'unshared',
    value: 'hybrid',
    first: 'b8095',
    last: 'b8352',
    what: 'hybrid memory takes no tokens of several sequences',
    source: `${PULL}16442, until ${PULL}21224; measured: rc 1`,
  },
  {
    rule: 'moves_all_owners',
    first: OLDEST,
    last: YOUNGEST,
    what: 'moving an entry moves it for all sequences that own it, so shared ones are not moved',
    source:
      'src/llama-kv-cache.cpp (src/llama.cpp before b4980), seq_add: the position of the cell; measured, attention and recurrent',
  },
  {
    rule: 'no_empty_ranges',
    first: OLDEST,
    last: 'b6673',
    what: 'removing an empty range of a state that has reached it is refused as a part would be',
    source: `src/llama-memory-recurrent.cpp (src/llama.cpp, src/llama-kv-cache.cpp before), seq_rm: partial intersection; until ${PULL}17009; measured`,
  },
  {
    rule: 'silent_windows',
    first: 'b5640',
    last: YOUNGEST,
    what: 'parts of sequences are removed and copied though a window has forgotten what the next token would see',
    source: `include/llama.h, llama_memory_seq_pos_min: the caller asks what is still there; ${PULL}13194`,
  },
  {
    rule: 'pos_of_empty',
    value: 0,
    first: OLDEST,
    last: 'b4980',
    what: 'the largest position of a sequence without tokens is 0',
    source: `until ${PULL}13194, by ${PULL}14329; measured`,
  },
  {
    rule: 'no_pos_min',
    first: OLDEST,
    last: 'b4980',
    what: 'the smallest position of a sequence is not told',
    source: 'include/llama.h: llama_kv_self_seq_pos_min is not there; measured',
  },
  {
    rule: 'pooled_ids_below_tokens',
    first: OLDEST,
    last: 'b5640',
    what: 'with pooling, ids are smaller than the number of tokens of their ubatch (of their sequence, with states)',
    source:
      'src/llama-graph.cpp (src/llama.cpp before b4980): "seq_id cannot be larger than n_tokens with pooling_type"; measured: an assertion',
  },
  {
    rule: 'rollback_once',
    first: 'v0.5.0',
    last: YOUNGEST,
    what: 'states that were rolled back are not rolled back again before the next token',
    source: 'src/llama-memory-recurrent.cpp, seq_rm: a pending rollback is single-use; measured: false',
  },
  {
    rule: 'rollback_in_ubatch',
    first: 'v0.5.0',
    last: YOUNGEST,
    what: 'n_ubatch is above n_rs_seq + 1',
    source: 'src/llama-batch.cpp, split_equal: GGML_ASSERT(n_ubatch > n_keep_tail); measured: it aborts',
  },
  {
    rule: 'v_f32',
    first: 'b4234',
    last: YOUNGEST,
    what: 'V in F32 is taken',
    source: 'measured: b3889 answers "V cache quantization requires flash_attn"',
  },
  {
    rule: 'flash_f32',
    first: 'b5640',
    last: YOUNGEST,
    what: 'flash attention takes K in F32',
    source: 'measured: b4234 and b4980 abort with "fattn: unsupported K-type"',
  },
  {
    rule: 'completes_positions',
    first: 'b6122',
    last: YOUNGEST,
    what: 'missing positions go on where each sequence ends',
    source: `${PULL}14177; before, where all of memory ends`,
  },
  {
    rule: 'small_windows',
    first: 'b8095',
    last: YOUNGEST,
    what: 'a cache of no more than the window (swa_full off) takes every batch that n_ctx has room for',
    source: 'measured: b5640 to b6673 answer 1 with cells left in n_ctx, by which this cache is not sized',
  },
];

/** Whether the rule holds in this era. */
export function holds(era: Era, { first, last }: Pick<ReleaseRule, 'first' | 'last'>): boolean {
  const at = ERAS.indexOf(era);
  return ERAS.indexOf(first) <= at && at <= ERAS.indexOf(last);
}

/** Whether this rule of the adapter holds in this era. */
export function drives(era: Era, rule: DriverRule): boolean {
  return holds(era, RULES.find((one) => one.rule === rule)!);
}

/** The name of a rule, with what it is about: `refuses batch.empty`, `no_pos_min`. */
export function ruleName(rule: ReleaseRule): string {
  return 'value' in rule ? `${rule.rule} ${rule.value}` : rule.rule;
}

/** `b8095 to b8352`. */
export function rangeOf({ first, last }: Pick<ReleaseRule, 'first' | 'last'>): string {
  return first === last ? first : `${first} to ${last}`;
}

/** The legal differences of an era, with their sources. */
export function legalOf(era: Era): LegalDifferences {
  const sources: Record<string, string> = {};
  let legal: LegalDifferences = { refuses: [], sources };
  for (const rule of RULES) {
    if (!holds(era, rule)) continue;
    switch (rule.rule) {
      case 'refuses':
        legal = { ...legal, refuses: [...legal.refuses!, rule.value] };
        break;
      case 'unshared':
        legal = { ...legal, unshared: [...(legal.unshared ?? []), rule.value] };
        break;
      case 'unmoved':
        legal = { ...legal, unmoved: [...(legal.unmoved ?? []), rule.value] };
        break;
      case 'pos_of_empty':
        legal = { ...legal, pos_of_empty: rule.value };
        break;
      case 'shared_needs_unified':
      case 'no_empty_ranges':
      case 'silent_windows':
      case 'no_pos_min':
      case 'moves_all_owners':
      case 'pooled_ids_below_tokens':
      case 'rollback_once':
      case 'rollback_in_ubatch':
        legal = { ...legal, [rule.rule]: true };
        break;
      default:
        continue;
    }
    sources[ruleName(rule)] = `${rangeOf(rule)}; ${rule.source}`;
  }
  return legal;
}
