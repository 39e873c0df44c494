/**
 * Which classes of histories a campaign has reached. A class that a property names and that never occurred is a
 * failure of the campaign: the generator has a blind spot, or the subject was never asked.
 */
import type { MemoryKind, SplitPolicy } from '../contract/batch.ts';
import type { ModelInfo, SubjectInfo } from '../contract/subject.ts';
import type { RulesInfo } from '../contract/white.ts';
import { isUnwatched } from './facts.ts';
import type { Trace } from './trace.ts';
import type { Coverage, Property, Script } from './types.ts';

export function note(coverage: Coverage, histogram: string, name: string): void {
  let counts = coverage[histogram];
  if (counts === undefined) {
    counts = {};
    coverage[histogram] = counts;
  }
  counts[name] = (counts[name] ?? 0) + 1;
}

/** The class of a count: '1', '2', '3-4', '5-8', '9-16', ... */
export function sizeClass(n: number): string {
  if (n <= 2) return String(n);
  let top = 4;
  while (n > top) top *= 2;
  return `${top / 2 + 1}-${top}`;
}

const SIZES_64 = ['1', '2', '3-4', '5-8', '9-16', '17-32', '33-64'];

/** Kinds of refused batches that the generators of illegal calls reach. */
export const BATCH_REFUSALS = [
  'batch.empty',
  'batch.size',
  'batch.token',
  'batch.seq_id',
  'batch.position',
  'batch.shared',
  'batch.whole',
  'batch.coupled',
  'memory.full',
] as const;

/** What every end-to-end property reaches. */
export const HISTORY_CLASSES: Readonly<Record<string, readonly string[]>> = {
  sequences: ['1', '2', '3-4', '5-8'],
  lengths: SIZES_64,
  'ubatches a batch': ['1', '2', '3-4', '5-8', '9-16'],
  n_ubatch: ['1', '2', '3-4', '5-8', '9-16', '17-32', '33-64'],
  outputs: ['none', 'some', 'all', 'default'],
  policies: ['simple', 'equal', 'equal-batch', 'equal-sequential', 'sequence', 'whole'],
  'shared tokens': ['no', 'yes'],
  cells: ['full', 'room'],
  type_kv: ['F32', 'F16'],
};

/** What histories with removals reach besides. */
export const REFILL_CLASSES: Readonly<Record<string, readonly string[]>> = {
  'reused slots': ['no', 'yes'],
  fragmentation: ['no', 'yes'],
};

/** Counts the classes of one script. */
export function coverScript(coverage: Coverage, script: Script, t: Trace): void {
  const { params } = script;
  note(coverage, 'policies', params.split);
  note(coverage, 'n_ubatch', sizeClass(params.n_ubatch));
  note(coverage, 'type_kv', params.type_kv ?? 'F32');
  if (params.isa !== undefined) note(coverage, 'isas', params.isa);
  note(coverage, 'cells', t.peak >= params.n_ctx ? 'full' : 'room');
  if ((params.n_keep_tail ?? 0) > 0) note(coverage, 'n_keep_tail', String(params.n_keep_tail));
  const lengths = new Map<number, number>();
  const left = new Set<number>();
  let chunks = 0;
  let shared = false;
  let reused = false;
  let holes = false;
  let fragmented = false;
  for (const { call, tokens, empty, removal, rolled_back } of t.calls) {
    if (removal !== undefined) note(coverage, 'removals', removal);
    if (rolled_back !== undefined) note(coverage, 'rolled back', sizeClass(rolled_back));
    if (call.op !== 'clear' && call.refused !== undefined) note(coverage, 'refusals', call.refused);
    if (call.op === 'stateLoad' && call.refused !== undefined)
      note(coverage, 'refused loads', extentOf(call.seq));
    // A refused call reaches nothing: it is counted as a refusal only.
    if (call.op !== 'clear' && call.refused !== undefined) continue;
    if (call.op !== 'decode') {
      note(coverage, 'operations', call.op);
      if (call.op === 'stateLoad') note(coverage, 'loads', extentOf(call.seq));
      // A sequence that never held a token is not left by its removal.
      if (call.op === 'seqRm' && (call.seq < 0 || lengths.has(call.seq))) left.add(call.seq);
      holes = !empty && (holes || call.op === 'seqRm' || call.op === 'seqKeep');
      continue;
    }
    chunks++;
    fragmented ||= holes;
    for (const { ids, pos } of tokens) {
      shared ||= ids.length > 1;
      for (const id of ids) {
        reused ||= left.has(id) && pos === 0;
        lengths.set(id, Math.max(lengths.get(id) ?? 0, pos + 1));
      }
    }
    note(coverage, 'outputs', outputClass(call.batch.logits));
    note(coverage, 'ubatches a batch', sizeClass(Math.ceil(tokens.length / params.n_ubatch)));
  }
  note(coverage, 'chunks', sizeClass(chunks));
  note(coverage, 'sequences', sizeClass(lengths.size));
  for (const n of lengths.values()) note(coverage, 'lengths', sizeClass(n));
  note(coverage, 'shared tokens', shared ? 'yes' : 'no');
  note(coverage, 'reused slots', reused ? 'yes' : 'no');
  note(coverage, 'fragmentation', fragmented ? 'yes' : 'no');
}

function extentOf(seq: number | undefined): string {
  return seq === undefined ? 'whole' : 'sequence';
}

function outputClass(logits: readonly boolean[] | undefined): string {
  if (logits === undefined) return 'default';
  if (logits.every(Boolean)) return 'all';
  return logits.some(Boolean) ? 'some' : 'none';
}

type Shape = Pick<ModelInfo, 'windowed' | 'windows' | 'rollback'>;

/** What is offered at all: classes beyond it are not missed. */
export interface Offered {
  readonly subject: SubjectInfo;
  readonly memory: MemoryKind;
  /** A model with this memory has a token that F16 caches refuse. */
  readonly overflow?: boolean;
  /** The models of this kind of memory, where they are known. */
  readonly models?: readonly Shape[];
}

/**
 * Classes of a property that never occurred, as `histogram: class`. With `offered`, classes that this subject and this
 * kind of memory cannot have are not counted.
 */
export function missingClasses(
  coverage: Coverage,
  property: Property,
  offered?: Offered,
  rules?: RulesInfo,
): string[] {
  const missing: string[] = [];
  for (const [histogram, names] of Object.entries(property.classes)) {
    for (const name of names) {
      if (coverage[histogram]?.[name] !== undefined) continue;
      if (rules !== undefined && !isShown(histogram, name, rules)) continue;
      if (offered === undefined || isPossible(histogram, name, offered))
        missing.push(`${histogram}: ${name}`);
    }
  }
  return missing;
}

/** What a subject in another process can be asked to split by. */
function isShown(histogram: string, name: string, { policies, keep_tail }: RulesInfo): boolean {
  if (histogram === 'policies') return policies.includes(name as SplitPolicy);
  return histogram !== 'n_keep_tail' || name === '0' || keep_tail;
}

function moves({ shifts, legal }: SubjectInfo, memory: MemoryKind): boolean {
  return shifts === true && legal?.unmoved?.includes(memory) !== true;
}

function isPossible(
  histogram: string,
  name: string,
  { subject, memory, models, overflow }: Offered,
): boolean {
  const recurrent = memory === 'recurrent';
  const all = (is: (model: Shape) => boolean): boolean =>
    models !== undefined && models.length > 0 && models.every(is);
  const watched = models?.some((model) => model.windowed === true && !isUnwatched(subject, model)) === true;
  if (subject.legal?.unshared?.includes(memory) && histogram === 'shared tokens') return name === 'no';
  const splits = subject.splits[memory] ?? [];
  switch (histogram) {
    case 'policies': {
      if (splits.length === 0) return name === 'equal';
      if (name === 'equal-batch' && splits.includes('equal-sequential')) return true;
      return splits.includes(name as SplitPolicy);
    }
    case 'isas':
      return subject.isas.includes(name);
    case 'type_kv':
      return !recurrent && subject.types_kv.includes(name as 'F32' | 'F16');
    case 'shared tokens':
      return name === 'no' || subject.shared_tokens;
    case 'refusals':
      // Whoever restores states must refuse what is none.
      if (name === 'state') return subject.state === true;
      if (subject.legal?.refuses !== undefined && !subject.legal.refuses.includes(name)) return false;
      if (name === 'memory.full') return !recurrent;
      if (name === 'memory.overflow') return overflow === true && subject.types_kv.includes('F16');
      if (name === 'ops.partial') return recurrent || memory === 'hybrid' || watched;
      if (name === 'batch.coupled') return splits.includes('equal-sequential') && subject.shared_tokens;
      if (name === 'batch.whole') return splits.includes('whole');
      return true;
    case 'operations':
      if (name !== 'seqAdd' && name !== 'seqDiv') return true;
      if (name === 'seqDiv' && all((model) => isUnwatched(subject, model))) return false;
      return (
        moves(subject, memory) &&
        (subject.choices?.swa_full !== undefined || !all((model) => isUnwatched(subject, model)))
      );
    case 'rolled back':
      return (
        subject.choices?.n_rs_seq !== undefined && models?.some((model) => model.rollback === true) === true
      );
    case 'removals':
      // A part of a state cannot be removed, nor one of what a window has forgotten, so only whole sequences go.
      if (name !== 'whole' && all((model) => isUnwatched(subject, model))) return false;
      return name === 'whole' || (!recurrent && (name === 'suffix' || subject.remove_anywhere));
    default:
      return true;
  }
}
