/**
 * A history as a text picture: for each decode a table with one column a token (its sequences, its ubatch, whether it
 * is an output), then what memory holds before and after. Ubatches, slots and cells are those of the oracle's rules
 * for the context's parameters; for a subject that cuts by itself they are not known, and the picture says so.
 */
import type { CompleteBatch, MemoryKind, Ubatch } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import type { CellView, SlotView } from '../contract/white.ts';
import { completeBatch } from '../oracle/batch.ts';
import { Cells } from '../oracle/cells.ts';
import { Slots } from '../oracle/slots.ts';
import { split } from '../oracle/split.ts';
import { type Entry, Lists } from '../properties/lists.ts';
import { applyCall, refusalOf } from '../properties/trace.ts';
import type { Call, Script } from '../properties/types.ts';
import { callInWords } from './call-words.ts';
import { cellLines, setInWords, slotLines, windowLines } from './picture-memory.ts';
import { WIDTH, wrapped } from './text.ts';

export interface PictureOptions {
  readonly memory: MemoryKind;
  /** The subject cannot be asked for a split policy. */
  readonly cutsByItself: boolean;
  /** What differs: a call, and the index in its batch if it is the row of a token. */
  readonly at?: { readonly call: number; readonly index?: number };
}

/** Calls, and blocks of columns of one batch, that are shown; beyond, the picture hides more than it shows. */
const MOST_CALLS = 12;
const MOST_BLOCKS = 3;

/** Lines of the picture, at most 100 columns wide. Calls after the one that differs are left out. */
export function pictureLines(script: Script, options: PictureOptions): string[] {
  const blocks = callBlocks(script, options);
  const late = script.calls.length - blocks.length;
  const more = late > 0 && blocks.at(-1)?.at(-1) !== PICTURE_ENDS ? [lateLine(late)] : [];
  return joined([...earlier(blocks), ...more]);
}

/**
 * The picture of the history that must give the same rows. What looks as in the first one is not drawn again; empty if
 * everything does.
 */
export function otherPictureLines(
  script: Script,
  options: PictureOptions,
  first: readonly string[],
): string[] {
  const unmarked = (lines: readonly string[]) => lines.filter((line) => !/^ *\^ /.test(line)).join('\n');
  const seen = unmarked(first);
  const blocks = callBlocks(script, options);
  const known = blocks.map((block) => seen.includes(unmarked(block)));
  if (known.every(Boolean)) return [];
  return joined(earlier(blocks.map((block, c) => (known[c] ? [`call ${c}: as above`] : block))));
}

const PICTURE_ENDS = '  (the picture ends here)';

function lateLine(late: number): string[] {
  return [`(${late} more ${late === 1 ? 'call comes' : 'calls come'} too late to matter)`];
}

/** One block a call, up to the one that differs. */
function callBlocks(script: Script, options: PictureOptions): string[][] {
  const end = Math.min((options.at?.call ?? Number.POSITIVE_INFINITY) + 1, script.calls.length);
  const books = new Books(script, options);
  const blocks: string[][] = [];
  for (let c = 0; c < end && !books.lost; c++) blocks.push(books.call(script.calls[c]!, c));
  if (books.lost) blocks.at(-1)!.push(PICTURE_ENDS);
  return blocks;
}

function earlier(blocks: string[][]): string[][] {
  const hidden = blocks.length - MOST_CALLS;
  return hidden <= 0 ? blocks : [[`... (${hidden} earlier calls are not drawn)`], ...blocks.slice(hidden)];
}

function joined(blocks: readonly string[][]): string[] {
  return blocks.flatMap((block, i) => (i === 0 ? block : ['', ...block]));
}

/** The columns of one batch: labels to the left, a mark below the one that differs. */
export function batchTable(
  batch: CompleteBatch,
  ubatches: readonly Ubatch[] | null,
  mark?: number,
): string[] {
  const n = batch.token.length;
  const ubatchOf = new Array<string>(n).fill('?');
  ubatches?.forEach(({ index }, u) => {
    for (const i of index) ubatchOf[i] = String(u);
  });
  const seqs = [...new Set(batch.seq_id.flat())].sort((a, b) => a - b);
  const rows: [string, (i: number) => string][] = [
    ['batch index', String],
    ['token', (i) => String(batch.token[i])],
    ['position', (i) => String(batch.pos[i])],
    ...seqs.map((seq): [string, (i: number) => string] => [
      `sequence ${seq}`,
      (i) => (batch.seq_id[i]!.includes(seq) ? 'x' : '.'),
    ]),
    ...(ubatches === null
      ? []
      : [['ubatch', (i: number) => ubatchOf[i]!] as [string, (i: number) => string]]),
    ['output', (i) => (batch.logits[i] ? '*' : '.')],
  ];
  const label = Math.max(...rows.map(([name]) => name.length)) + 4;
  const wide = Math.max(...rows.flatMap(([, cell]) => batch.token.map((_, i) => cell(i).length))) + 2;
  const perBlock = Math.max(1, Math.floor((WIDTH - label) / wide));
  const starts = Array.from({ length: Math.ceil(n / perBlock) }, (_, b) => b * perBlock);
  const has = (start: number) => mark !== undefined && mark >= start && mark < start + perBlock;
  const shown = starts.filter((start, b) => b < MOST_BLOCKS - 1 || has(start) || b === starts.length - 1);
  return shown.flatMap((start, b) => {
    const columns = Array.from({ length: Math.min(perBlock, n - start) }, (_, k) => start + k);
    const block = rows
      .filter(([name]) => !name.startsWith('sequence') || columns.some((i) => sequenceIn(batch, i, name)))
      .map(([name, cell]) => `  ${name}`.padEnd(label) + columns.map((i) => cell(i).padStart(wide)).join(''));
    if (has(start)) block.push(arrow(label + (mark! - start + 1) * wide - 1));
    const before = b === 0 ? 0 : shown[b - 1]! + perBlock;
    if (start > before) block.unshift(`  ... (${start - before} tokens are not drawn)`);
    return block;
  });
}

function sequenceIn(batch: CompleteBatch, i: number, name: string): boolean {
  return batch.seq_id[i]!.includes(Number(name.slice('sequence '.length)));
}

/** The words stand to the left where there is no room to the right. */
function arrow(column: number): string {
  const words = 'this row differs';
  if (column + words.length + 2 <= WIDTH) return `${' '.repeat(column)}^ ${words}`;
  return `${`${words} `.padStart(column)}^`;
}

interface View {
  readonly slots?: SlotView;
  readonly cells?: CellView;
  readonly lists: readonly string[];
}

/** Follows a script with the oracle's books. */
class Books {
  /** What happens from here on is not known. */
  lost = false;
  readonly #script: Script;
  readonly #options: PictureOptions;
  readonly #lists: Lists;
  readonly #slots: Slots | undefined;
  readonly #cells: Cells | undefined;
  /** By entry: its cell. */
  readonly #cellOf = new Map<Entry, number>();

  constructor(script: Script, options: PictureOptions) {
    const { n_seq_max, n_ctx } = script.params;
    const { memory, cutsByItself } = options;
    this.#script = script;
    this.#options = options;
    this.#lists = new Lists(n_seq_max, memory);
    if (cutsByItself) return;
    if (memory === 'recurrent' || memory === 'hybrid') this.#slots = new Slots(n_seq_max);
    if (memory === 'attention' || memory === 'hybrid') this.#cells = new Cells(n_ctx);
  }

  call(call: Call, c: number): string[] {
    const title = wrapped(`call ${c}: `, callInWords(call).split(' '));
    const { at } = this.#options;
    if (at?.call === c && at.index === undefined) title.push('  ^ this call differs');
    if (call.op !== 'clear' && call.refused !== undefined) return [...title, '  memory stays as it is'];
    const illegal = refusalOf(this.#lists, call, this.#script, Number.MAX_SAFE_INTEGER);
    if (illegal !== null) {
      this.lost = true;
      return [...title, `  By the rules this call is refused (${illegal}).`];
    }
    const before = this.#view();
    const told = call.op === 'decode' ? this.#decode(call, c) : this.#operation(call);
    return [...title, ...told, ...this.#memoryLines(before)];
  }

  #view(): View {
    return { slots: this.#slots?.view(), cells: this.#cells?.view(), lists: this.#listsInWords() };
  }

  #memoryLines(before: View): string[] {
    const { slots, cells, lists } = this.#view();
    if (slots === undefined && cells === undefined)
      return [
        ...wrapped('  memory before      ', before.lists, '  '),
        ...wrapped('  memory after       ', lists, '  '),
      ];
    return [
      ...(slots === undefined ? [] : slotLines(before.slots!, slots)),
      ...(cells === undefined ? [] : cellLines(before.cells!, cells)),
    ];
  }

  /** Where the subject's own places are not known: which positions each sequence has. */
  #listsInWords(): string[] {
    const held: string[] = [];
    for (let seq = 0; seq < this.#lists.n_seq_max; seq++) {
      const owned = this.#lists.owned(seq);
      if (owned.length > 0) held.push(`{${seq}}@${owned[0]!.pos}..${owned.at(-1)!.pos}`);
    }
    return held.length > 0 ? held : ['empty'];
  }

  #operation(call: Exclude<Call, { op: 'decode' }>): string[] {
    applyCall(this.#lists, call);
    // What was encoded is no part of memory.
    if (call.op === 'stateSave' || call.op === 'encode') return [];
    if (call.op === 'stateLoad' || call.op === 'newContext') {
      // Where a state is put is the subject's own business, and what follows depends on it.
      this.lost = this.#slots !== undefined || this.#cells !== undefined;
      return [];
    }
    if (call.op === 'seqAdd' || call.op === 'seqDiv') {
      // Cells and slots are drawn by the oracle's rules, which know no moves.
      this.lost = this.#slots !== undefined || this.#cells !== undefined;
      return [];
    }
    for (const memory of [this.#slots, this.#cells]) {
      if (call.op === 'clear') memory?.clear();
      else if (call.op === 'seqRm') memory?.seqRm(call.seq, call.p0, call.p1);
      else if (call.op === 'seqCp') memory?.seqCp(call.from, call.to, call.p0, call.p1);
      else memory?.seqKeep(call.seq);
    }
    return [];
  }

  #decode({ batch }: Extract<Call, { op: 'decode' }>, c: number): string[] {
    const { params } = this.#script;
    const limits = { ...params, n_vocab: Number.MAX_SAFE_INTEGER };
    const complete = completeBatch(batch, this.#lists, limits);
    const { at } = this.#options;
    const mark = at?.call === c ? at.index : undefined;
    if (this.#options.cutsByItself)
      return [
        ...batchTable(complete, null, mark),
        '  ubatches: the subject cuts by itself',
        ...this.#append(complete, mark),
      ];
    const ubatches = this.#split(complete);
    const table = batchTable(complete, ubatches, mark);
    if (ubatches === null) {
      this.lost = true;
      return [...table, `  By the rules the split ${params.split} is refused here.`];
    }
    const placed = ubatches.flatMap((ubatch, u) => this.#place(complete, ubatch, u));
    return [...table, ...placed, ...this.#append(complete, mark)];
  }

  #split(complete: CompleteBatch): Ubatch[] | null {
    const { split: policy, n_ubatch, n_keep_tail } = this.#script.params;
    // A slot for each token of a ubatch is what recurrent memory does not have.
    if (policy === 'simple' && this.#slots !== undefined) return null;
    try {
      return split(complete, { policy, n_ubatch, n_keep_tail });
    } catch (error) {
      if (error instanceof IsobatchError) return null; // parameters that no context can have
      throw error;
    }
  }

  /** One ubatch in the books: its sets, and where their states come from. */
  #place(complete: CompleteBatch, ubatch: Ubatch, u: number): string[] {
    const { index, n_seqs, n_seq_tokens } = ubatch;
    const lines = wrapped(`  ubatch ${u}: `, this.#ubatchInWords(complete, ubatch).split(' '));
    if (this.#slots !== undefined) {
      const last = Array.from({ length: n_seqs }, (_, s) => index[(s + 1) * n_seq_tokens - 1]!);
      const sets = last.map((i) => complete.seq_id[i]!);
      const pos = last.map((i) => complete.pos[i]!);
      const placement = this.#slots.findSlot(sets, n_seq_tokens, pos);
      lines.push(...windowLines(placement, sets, this.#slots.view()));
    }
    return lines;
  }

  /** Tokens and sets, and for attention the cells, which are taken by this. */
  #ubatchInWords(complete: CompleteBatch, ubatch: Ubatch): string {
    const words = ubatchInWords(complete, ubatch);
    if (this.#cells === undefined) return words;
    const { index } = ubatch;
    const pos = index.map((i) => complete.pos[i]!);
    const sets = index.map((i) => complete.seq_id[i]!);
    const cells = this.#cells.place(pos, sets) ?? [];
    index.forEach((i, k) => {
      this.#cellAt.set(i, cells[k]!);
    });
    return `${words}; into ${cells.length === 1 ? 'cell' : 'cells'} ${numbersInWords(cells)}`;
  }

  /** By batch index, within one decode. */
  readonly #cellAt = new Map<number, number>();

  /** Appends the tokens to the lists; says what the marked one must have seen. */
  #append(complete: CompleteBatch, mark: number | undefined): string[] {
    const lines: string[] = [];
    complete.token.forEach((token, i) => {
      const ids = complete.seq_id[i]!;
      if (i === mark) lines.push(...this.#mustSee(complete, i));
      const entry = this.#lists.append(token, ids);
      const cell = this.#cellAt.get(i);
      if (cell !== undefined) this.#cellOf.set(entry, cell);
    });
    this.#cellAt.clear();
    return lines;
  }

  #mustSee(complete: CompleteBatch, i: number): string[] {
    const seq = complete.seq_id[i]![0]!;
    const head = `  token ${i} is ${complete.token[i]} of ${setInWords(complete.seq_id[i]!)}@${complete.pos[i]}: it must see `;
    const owned = this.#lists.owned(seq);
    if (owned.length === 0) return [`${head}nothing but itself`];
    const seen = owned.map((e) => `${e.token}@${e.pos}${this.#cellInWords(e)}`);
    const [many, shown] = [seen.length - MOST_SEEN, seen.slice(-MOST_SEEN)];
    return wrapped(head, [...(many > 0 ? [`... (${many} earlier)`] : []), ...shown, 'and itself']);
  }

  #cellInWords(entry: Entry): string {
    const cell = this.#cellOf.get(entry);
    return cell === undefined ? '' : ` (cell ${cell}),`;
  }
}

const MOST_SEEN = 24;

/** "tokens 2, 0: {7} then {2}, 1 token each". */
function ubatchInWords(batch: CompleteBatch, { index, n_seqs, n_seq_tokens, equal_seqs }: Ubatch): string {
  const tokens = `${index.length === 1 ? 'token' : 'tokens'} ${numbersInWords(index)}`;
  if (!equal_seqs) return tokens;
  const sets = Array.from({ length: n_seqs }, (_, s) => setInWords(batch.seq_id[index[s * n_seq_tokens]!]!));
  const each = `${n_seq_tokens} ${n_seq_tokens === 1 ? 'token' : 'tokens'}${n_seqs === 1 ? '' : ' each'}`;
  return `${tokens}, that is ${sets.join(', ')} with ${each}`;
}

/** "0, 1, 2" or "3..7" where at least four follow each other. */
export function numbersInWords(numbers: readonly number[]): string {
  const parts: string[] = [];
  for (let k = 0; k < numbers.length; ) {
    let end = k + 1;
    while (end < numbers.length && numbers[end] === numbers[end - 1]! + 1) end++;
    if (end - k >= 4) parts.push(`${numbers[k]}..${numbers[end - 1]}`);
    else parts.push(...numbers.slice(k, end).map(String));
    k = end;
  }
  return parts.length > 24 ? `${parts.slice(0, 24).join(', ')}, ...` : parts.join(', ');
}
