/**
 * The subject protocol, version 1: how an engine in any language is plugged in. A client writes requests to the
 * standard input of the subject and reads answers from its standard output, as frames (`frames.ts`), one answer a
 * request, in order. PROTOCOL.md says the same for implementers.
 */
import {
  type Batch,
  type CompleteBatch,
  type MemoryKind,
  SPLIT_POLICIES,
  type SplitOptions,
  type Ubatch,
} from '../contract/batch.ts';
import { type ErrorKind, IsobatchError } from '../contract/errors.ts';
import {
  type Choices,
  type ContextParams,
  type LegalDifferences,
  type ModelInfo,
  POOLINGS,
  type Pooling,
  type RoundingProfile,
  type SubjectInfo,
  type SumOrder,
  type Window,
} from '../contract/subject.ts';
import type { RulesInfo, ShownCells, ShownSplit } from '../contract/white.ts';
import type { Header } from './frames.ts';

export const PROTOCOL_VERSION = 1;

export const VERBS = [
  'hello',
  'load',
  'quantize',
  'open',
  'script',
  'decode',
  'encode',
  'seqRm',
  'seqCp',
  'seqKeep',
  'seqAdd',
  'seqDiv',
  'clear',
  'seqPosMin',
  'seqPosMax',
  'stateGet',
  'stateSet',
  'rules',
  'split',
  'cells',
  'close',
  'unload',
  'bye',
] as const;

export type Verb = (typeof VERBS)[number];

/** How an error travels. */
export interface ErrorRecord {
  readonly kind: string;
  readonly message: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

/** What a thrown value is on the wire; anything that is not ours becomes `internal`. */
export function errorRecord(error: unknown): ErrorRecord {
  if (error instanceof IsobatchError)
    return { kind: error.kind, message: error.message, detail: error.detail };
  const { name = 'Error', message = String(error) } = (error ?? {}) as Partial<Error>;
  return { kind: 'internal', message: `${name}: ${message}`, detail: {} };
}

/** The error that a record stands for. A kind that we do not know is kept: it is what the subject said. */
export function errorOf(record: unknown): IsobatchError {
  const r = (record ?? {}) as Partial<ErrorRecord>;
  if (typeof r.kind !== 'string' || typeof r.message !== 'string')
    return new IsobatchError('protocol', 'an error answer lacks kind or message', { answer: record });
  const detail = typeof r.detail === 'object' && r.detail !== null ? r.detail : {};
  return new IsobatchError(r.kind as ErrorKind, r.message, detail);
}

function bad(field: string, want: string, got: unknown): IsobatchError {
  return new IsobatchError('protocol', `${field} must be ${want}, got ${JSON.stringify(got) ?? 'nothing'}`, {
    field,
    got,
  });
}

/** Readers of header fields: each throws `protocol` and names the field. */
export function intField(header: Header, field: string, missing?: number): number {
  const value = header[field] ?? missing;
  if (!Number.isSafeInteger(value)) throw bad(field, 'an integer', value);
  return value as number;
}

export function textField(header: Header, field: string): string {
  const value = header[field];
  if (typeof value !== 'string') throw bad(field, 'a string', value);
  return value;
}

function boolField(header: Header, field: string): boolean {
  const value = header[field];
  if (typeof value !== 'boolean') throw bad(field, 'true or false', value);
  return value;
}

function textList(header: Header, field: string): string[] {
  const value = header[field];
  if (!Array.isArray(value) || value.some((v) => typeof v !== 'string'))
    throw bad(field, 'a list of strings', value);
  return value as string[];
}

export function objectField(header: Header, field: string): Header {
  const value = header[field];
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw bad(field, 'an object', value);
  return value as Header;
}

function isInts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((v) => Number.isSafeInteger(v));
}

/**
 * Checks the types of a batch. Whether lengths agree and numbers are legal is for the subject to say, by its own
 * errors: that is what is tested.
 */
export function batchField(header: Header): Batch {
  const b = objectField(header, 'batch');
  if (!isInts(b.token)) throw bad('batch.token', 'a list of integers', b.token);
  if (b.pos !== undefined && !isInts(b.pos)) throw bad('batch.pos', 'a list of integers', b.pos);
  if (b.seq_id !== undefined && !(Array.isArray(b.seq_id) && b.seq_id.every(isInts)))
    throw bad('batch.seq_id', 'a list of lists of integers', b.seq_id);
  if (b.logits !== undefined && !(Array.isArray(b.logits) && b.logits.every((v) => typeof v === 'boolean')))
    throw bad('batch.logits', 'a list of booleans', b.logits);
  return b as unknown as Batch;
}

export function paramsField(header: Header): ContextParams {
  const p = objectField(header, 'params');
  for (const field of ['n_ctx', 'n_batch', 'n_ubatch', 'n_seq_max']) intField(p, field);
  textField(p, 'split');
  return p as unknown as ContextParams;
}

const MEMORIES: readonly MemoryKind[] = ['attention', 'recurrent', 'hybrid', 'none'];

/** Checks what a subject says about itself. */
export function subjectInfoOf(value: Header): SubjectInfo {
  const splits = objectField(value, 'splits');
  for (const [memory, policies] of Object.entries(splits)) {
    if (!MEMORIES.includes(memory as MemoryKind)) throw bad('splits', 'keyed by kind of memory', memory);
    if (!Array.isArray(policies)) throw bad(`splits.${memory}`, 'a list of policies', policies);
  }
  return {
    name: textField(value, 'name'),
    version: textField(value, 'version'),
    protocol: intField(value, 'protocol'),
    architectures: textList(value, 'architectures'),
    splits: splits as SubjectInfo['splits'],
    isas: textList(value, 'isas'),
    types_kv: textList(value, 'types_kv') as SubjectInfo['types_kv'],
    bit_invariant: boolField(value, 'bit_invariant'),
    shared_tokens: boolField(value, 'shared_tokens'),
    remove_anywhere: boolField(value, 'remove_anywhere'),
    ...(value.rounding === undefined ? {} : { rounding: roundingOf(objectField(value, 'rounding')) }),
    ...(value.rounding_flash === undefined
      ? {}
      : { rounding_flash: roundingOf(objectField(value, 'rounding_flash')) }),
    ...(value.choices === undefined ? {} : { choices: choicesOf(objectField(value, 'choices')) }),
    ...(value.legal === undefined ? {} : { legal: legalOf(objectField(value, 'legal')) }),
    ...(value.scripts === undefined ? {} : { scripts: boolField(value, 'scripts') }),
    ...(value.state === undefined ? {} : { state: boolField(value, 'state') }),
    ...(value.shifts === undefined ? {} : { shifts: boolField(value, 'shifts') }),
    ...(value.quantizes === undefined ? {} : { quantizes: textList(value, 'quantizes') }),
  };
}

/** Checks the context parameters that a subject offers. Those that we do not know are left out. */
function choicesOf(value: Header): Choices {
  const of = <T>(name: string, isOne: (x: unknown) => boolean, want: string): readonly T[] | undefined => {
    const list = value[name];
    if (list === undefined) return undefined;
    if (!Array.isArray(list) || list.length === 0 || !list.every(isOne))
      throw bad(`choices.${name}`, `a list of ${want}`, list);
    return list as T[];
  };
  const isFlag = (x: unknown): boolean => typeof x === 'boolean';
  const isCount = (x: unknown): boolean => Number.isSafeInteger(x) && (x as number) > 0;
  return {
    kv_unified: of<boolean>('kv_unified', isFlag, 'true and false'),
    swa_full: of<boolean>('swa_full', isFlag, 'true and false'),
    flash_attn: of<boolean>('flash_attn', isFlag, 'true and false'),
    n_threads: of<number>('n_threads', isCount, 'positive integers'),
    embeddings: of<boolean>('embeddings', isFlag, 'true and false'),
    n_rs_seq: of<number>('n_rs_seq', (x) => isCount(x) || x === 0, 'numbers of states'),
    pooling: of<Pooling>('pooling', (x) => POOLINGS.some((p) => p === x), POOLINGS.join(', ')),
  };
}

/** Checks what a subject says about where it may differ. */
function legalOf(value: Header): LegalDifferences {
  const flag = (name: string): boolean | undefined =>
    value[name] === undefined ? undefined : boolField(value, name);
  return {
    refuses: value.refuses === undefined ? undefined : textList(value, 'refuses'),
    shared_needs_unified: flag('shared_needs_unified'),
    unmoved: value.unmoved === undefined ? undefined : (textList(value, 'unmoved') as MemoryKind[]),
    unshared: value.unshared === undefined ? undefined : (textList(value, 'unshared') as MemoryKind[]),
    no_empty_ranges: flag('no_empty_ranges'),
    moves_all_owners: flag('moves_all_owners'),
    rollback_once: flag('rollback_once'),
    rollback_in_ubatch: flag('rollback_in_ubatch'),
    silent_windows: flag('silent_windows'),
    pos_of_empty: value.pos_of_empty === undefined ? undefined : intField(value, 'pos_of_empty'),
    no_pos_min: flag('no_pos_min'),
    pooled_ids_below_tokens: flag('pooled_ids_below_tokens'),
    sources: value.sources === undefined ? undefined : sourcesOf(objectField(value, 'sources')),
  };
}

function sourcesOf(value: Header): Record<string, string> {
  for (const [rule, source] of Object.entries(value))
    if (typeof source !== 'string') throw bad(`legal.sources.${rule}`, 'a text', source);
  return value as Record<string, string>;
}

/** Checks how a subject says that it rounds. */
export function roundingOf(value: Header): RoundingProfile {
  const F32_F16 = ['F32', 'F16'] as const;
  return {
    fma: boolField(value, 'fma'),
    products: sumOrderOf(value, 'products'),
    rows: sumOrderOf(value, 'rows'),
    keys: sumOrderOf(value, 'keys'),
    rope: oneOf(value, 'rope', ['F64', 'F32'] as const),
    f16_activations: oneOf(value, 'f16_activations', F32_F16),
    attention: oneOf(value, 'attention', F32_F16),
    softplus: oneOf(value, 'softplus', ['log1p', 'log'] as const),
    gelu: oneOf(value, 'gelu', ['logistic', 'tanh', 'F16 table'] as const),
    kv: oneOf(value, 'kv', ['as asked', 'F16'] as const),
  };
}

function oneOf<T extends string>(value: Header, field: string, names: readonly T[], under = 'rounding.'): T {
  const name = names.find((n) => n === value[field]);
  if (name === undefined) throw bad(`${under}${field}`, names.join(' or '), value[field]);
  return name;
}

function sumOrderOf(value: Header, field: string): SumOrder {
  const order = objectField(value, field);
  const count = (name: string): number => {
    const n = order[name];
    if (!Number.isSafeInteger(n) || (n as number) < 1)
      throw bad(`rounding.${field}.${name}`, 'a positive integer', n);
    return n as number;
  };
  switch (order.order) {
    case 'any':
    case 'sequential':
    case 'double':
      return { order: order.order };
    case 'blocks':
      return { order: 'blocks', size: count('size') };
    case 'lanes':
      return { order: 'lanes', lanes: count('lanes') };
    default:
      throw bad(`rounding.${field}.order`, 'any, sequential, blocks, lanes or double', order.order);
  }
}

/** Checks what a subject says about a model. */
export function modelInfoOf(value: Header): ModelInfo {
  const memory = textField(value, 'memory') as MemoryKind;
  if (!MEMORIES.includes(memory)) throw bad('memory', MEMORIES.join(', '), memory);
  return {
    arch: textField(value, 'arch'),
    memory,
    n_vocab: intField(value, 'n_vocab'),
    n_embd: intField(value, 'n_embd'),
    n_layer: intField(value, 'n_layer'),
    n_params: intField(value, 'n_params'),
    ...(value.windowed === undefined ? {} : { windowed: boolField(value, 'windowed') }),
    ...(value.windows === undefined ? {} : { windows: windowsOf(value.windows) }),
    ...(value.rollback === undefined ? {} : { rollback: boolField(value, 'rollback') }),
    ...(value.encoder === undefined ? {} : { encoder: encoderOf(value.encoder) }),
  };
}

function windowsOf(value: unknown): Window[] {
  if (!Array.isArray(value)) throw bad('windows', 'a list', value);
  return value.map((window: Header, i) => ({
    kind: oneOf(window, 'kind', ['sliding', 'chunked'] as const, `windows.${i}.`),
    size: intField(window, 'size'),
  }));
}

function encoderOf(value: unknown): 'only' | 'with decoder' {
  if (value !== 'only' && value !== 'with decoder') throw bad('encoder', 'only or with decoder', value);
  return value;
}

/** Checks what a subject says about the rules that it shows. */
export function rulesInfoOf(value: Header): RulesInfo {
  const policies = textList(value, 'policies');
  const unknown = policies.find((name) => !(SPLIT_POLICIES as readonly string[]).includes(name));
  if (unknown !== undefined) throw bad('policies', `of ${SPLIT_POLICIES.join(', ')}`, unknown);
  return {
    policies: policies as RulesInfo['policies'],
    keep_tail: boolField(value, 'keep_tail'),
    quirks: oneOf(value, 'quirks', ['none', 'upstream'] as const, 'rules.'),
  };
}

/** The batch and the options of a request to split: every field of the batch must be there. */
export function splitField(header: Header): { batch: CompleteBatch; options: SplitOptions } {
  const batch = batchField(header);
  const n = batch.token.length;
  for (const field of ['pos', 'seq_id', 'logits'] as const)
    if (batch[field]?.length !== n) throw bad(`batch.${field}`, `a list of ${n}`, batch[field]);
  const policy = oneOf(header, 'policy', SPLIT_POLICIES, '');
  const n_keep_tail = intField(header, 'n_keep_tail', 0);
  return {
    batch: batch as CompleteBatch,
    options: { policy, n_ubatch: intField(header, 'n_ubatch'), n_keep_tail },
  };
}

/** Checks the types of an answer to `split`; what is in it is for the property to judge. */
export function shownSplitOf(header: Header): ShownSplit {
  const { ubatches, out_ids } = header;
  if (!Array.isArray(ubatches)) throw bad('ubatches', 'a list', ubatches);
  if (!isInts(out_ids)) throw bad('out_ids', 'a list of integers', out_ids);
  for (const ubatch of ubatches as Header[]) {
    boolField(ubatch, 'equal_seqs');
    intField(ubatch, 'n_seqs');
    intField(ubatch, 'n_seq_tokens');
    if (!isInts(ubatch.index)) throw bad('index', 'a list of integers', ubatch.index);
  }
  return { ubatches: ubatches as Ubatch[], out_ids };
}

/** Checks which kinds of memory a subject shows the recurrent cells of. */
export function cellKindsOf(header: Header): readonly MemoryKind[] {
  const kinds = textList(header, 'memory');
  const unknown = kinds.find((kind) => !(MEMORIES as readonly string[]).includes(kind));
  if (unknown !== undefined) throw bad('memory', `of ${MEMORIES.join(', ')}`, unknown);
  return kinds as MemoryKind[];
}

/** Checks the types of an answer to `cells`; what is in it is for the property to judge. */
export function shownCellsOf(header: Header): ShownCells {
  const { cells, tail, last } = header;
  if (!Array.isArray(cells)) throw bad('cells', 'a list', cells);
  for (const cell of cells as Header[]) {
    intField(cell, 'pos');
    if (!isInts(cell.seq)) throw bad('seq', 'a list of integers', cell.seq);
    if (cell.src !== undefined) intField(cell, 'src');
  }
  if (!isInts(tail)) throw bad('tail', 'a list of integers', tail);
  if (header.used !== undefined) intField(header, 'used');
  if (last !== undefined) {
    const window = objectField(header, 'last');
    intField(window, 'head');
    intField(window, 'n');
    if (window.src0 !== undefined && !isInts(window.src0))
      throw bad('src0', 'a list of integers', window.src0);
  }
  return header as unknown as ShownCells;
}

/** Throws `protocol` unless the other end speaks our version. */
export function checkVersion(version: unknown): void {
  if (version !== PROTOCOL_VERSION)
    throw new IsobatchError(
      'protocol',
      `the other end speaks version ${JSON.stringify(version)} of the subject protocol; this is version ${PROTOCOL_VERSION}`,
      { got: version, want: PROTOCOL_VERSION },
    );
}
