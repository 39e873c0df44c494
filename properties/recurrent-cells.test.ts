/**
 * `recurrent-cells` on a subject whose cells are the oracle's slots: it holds, with all that can be shown and with the
 * least; and cells that break one invariant after the other are seen.
 */
import { describe, expect, it } from 'vitest';
import type { Batch } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import type { ContextParams, DecodeResult, SubjectContext, SubjectModel } from '../contract/subject.ts';
import type { ShownCells, SlotMemory, SlotPlacement } from '../contract/white.ts';
import { completeBatch, type MemoryBefore } from '../oracle/batch.ts';
import { oracleWhite } from '../oracle/white.ts';
import { missingClasses } from './coverage.ts';
import { recurrentCells } from './recurrent-cells.ts';
import { fakeEnv, runCases, shrinkGreedily } from './testing.ts';
import type { Env } from './types.ts';
import { skipReason } from './worker-env.ts';

/** What is shown, in a form that can be bent. */
interface Bent {
  cells: { pos: number; seq: number[]; src?: number }[];
  tail: number[];
  used?: number;
  last?: { head: number; n: number; src0?: number[] };
}

/** What a reader gets wrong after a call; `sets` are those of the last ubatch. */
type Fault = (shown: Bent, call: string, sets: number) => void;

/** The fake context with slots beside it, read by a reader that may be wrong. */
class SlotContext implements SubjectContext {
  readonly #inner: SubjectContext;
  readonly #params: ContextParams;
  readonly #slots: SlotMemory;
  readonly #fault: Fault | undefined;
  #last: SlotPlacement | undefined;
  #sets = 0;
  #call = '';

  constructor(inner: SubjectContext, params: ContextParams, fault: Fault | undefined) {
    this.#inner = inner;
    this.#params = params;
    this.#slots = oracleWhite.slots(params.n_seq_max);
    this.#fault = fault;
  }

  #try<T>(name: string, call: () => T): T {
    this.#call = `refused ${name}`;
    const answer = call();
    this.#call = name;
    return answer;
  }

  decode(batch: Batch): DecodeResult {
    const { n_batch, n_seq_max, split } = this.#params;
    return this.#try('decode', () => {
      const result = this.#inner.decode(batch) as DecodeResult;
      const { pos, seq_id, ...rest } = completeBatch(batch, this.#memory(), {
        n_vocab: 16,
        n_batch,
        n_seq_max,
      });
      const options = { ...this.#params, policy: split };
      for (const ubatch of oracleWhite.split({ pos, seq_id, ...rest }, options)) {
        const { index, n_seqs, n_seq_tokens: n } = ubatch;
        const sets = Array.from({ length: n_seqs }, (_, s) => seq_id[index[s * n]!]!);
        this.#last = this.#slots.findSlot(
          sets,
          n,
          sets.map((_, s) => pos[index[s * n + n - 1]!]!),
        );
        this.#sets = n_seqs;
      }
      return result;
    });
  }

  /** Positions as they were before the batch. */
  #memory(): MemoryBefore {
    const { tail } = this.#slots.view();
    // Who shares a slot owns the same state.
    return { posMax: (seq) => this.#slots.seqPosMax(seq), owned: (seq) => [tail[seq]] };
  }

  seqRm(seq: number, p0: number, p1: number): void {
    this.#try('seqRm', () => {
      this.#inner.seqRm(seq, p0, p1);
      this.#slots.seqRm(seq, p0, p1);
    });
  }
  seqCp(from: number, to: number, p0: number, p1: number): void {
    this.#try('seqCp', () => {
      this.#inner.seqCp(from, to, p0, p1);
      this.#slots.seqCp(from, to);
    });
  }
  seqKeep(seq: number): void {
    this.#try('seqKeep', () => {
      this.#inner.seqKeep(seq);
      this.#slots.seqKeep(seq);
    });
  }
  clear(): void {
    this.#try('clear', () => {
      this.#inner.clear();
      this.#slots.clear();
    });
  }
  seqPosMin(seq: number): number {
    return this.#slots.seqPosMin(seq);
  }
  seqPosMax(seq: number): number {
    return this.#slots.seqPosMax(seq);
  }
  close(): void {}

  cells(): ShownCells {
    const { cells, tail, used } = this.#slots.view();
    const shown: Bent = structuredClone({
      cells,
      tail,
      used,
      ...(this.#last === undefined ? {} : { last: this.#last }),
    }) as Bent;
    this.#fault?.(shown, this.#call, this.#sets);
    return shown;
  }
}

function cellsEnv(fault?: Fault): Env {
  const env = fakeEnv('recurrent');
  const loaded: SubjectModel = {
    info: env.model,
    open: (params) => new SlotContext(env.loaded.open(params) as SubjectContext, params, fault),
    close() {},
  };
  return { ...env, loaded };
}

const busy = ({ cells }: Bent): number[] => cells.flatMap(({ seq }, i) => (seq.length > 0 ? [i] : []));
const inWindow = ({ last }: Bent, i: number): boolean =>
  last !== undefined && i >= last.head && i < last.head + last.n;

/** The states of two cells change places, in books that agree with each other. */
function exchange(shown: Bent, a: number, b: number): void {
  const { cells, tail } = shown;
  const [x, y] = [cells[a]!, cells[b]!];
  cells[a] = { ...y, src: a };
  cells[b] = { ...x, src: b };
  for (const id of y.seq) tail[id] = a;
  for (const id of x.seq) tail[id] = b;
}

const FAULTS: readonly (readonly [string, RegExp, Fault])[] = [
  [
    'a sequence is in two cells',
    /INV-RS-1 after/,
    (shown) => {
      const [a, b] = busy(shown);
      if (b !== undefined) shown.cells[b]!.seq.push(shown.cells[a!]!.seq[0]!);
    },
  ],
  [
    'a cell belongs to a sequence that cannot exist',
    /INV-RS-1 after/,
    (shown) => {
      const [a] = busy(shown);
      if (a !== undefined && shown.tail.length === 3) shown.cells[a]!.seq.push(3);
    },
  ],
  [
    'a removal leaves the tail behind',
    /INV-RS-1 after seqRm/,
    (shown, call) => {
      const dead = shown.tail.indexOf(-1);
      if (call === 'seqRm' && dead >= 0) shown.tail[dead] = 0;
    },
  ],
  [
    'a live sequence has no cell',
    /INV-RS-1 after/,
    (shown) => {
      const [, , c] = busy(shown);
      if (c === undefined) return;
      for (const id of shown.cells[c]!.seq) shown.tail[id] = -1;
      shown.cells[c] = { pos: -1, seq: [], src: -1 };
    },
  ],
  [
    'a cell stands one position behind',
    /INV-RS-1 after/,
    ({ cells }) => {
      const far = cells.find(({ pos }) => pos > 4);
      if (far !== undefined) far.pos--;
    },
  ],
  [
    'different histories share a cell',
    /INV-RS-1 after/,
    (shown) => {
      const { cells, tail } = shown;
      for (const a of busy(shown)) {
        const b = busy(shown).find((i) => i > a && cells[i]!.pos === cells[a]!.pos);
        if (b === undefined) continue;
        for (const id of cells[b]!.seq) tail[id] = a;
        cells[a]!.seq.push(...cells[b]!.seq);
        cells[b] = { pos: -1, seq: [], src: -1 };
        return;
      }
    },
  ],
  [
    'the count of used cells is not corrected by a removal',
    /INV-RS-2 after seqKeep/,
    (shown, call) => {
      if (call === 'seqKeep') shown.used!++;
    },
  ],
  [
    'an empty cell stands somewhere',
    /INV-RS-3 after/,
    ({ cells }) => {
      const empty = cells.findLast(({ seq }) => seq.length === 0);
      if (empty !== undefined && cells.length > 2) empty.pos = 2;
    },
  ],
  [
    'the window begins too late',
    /INV-RS-5 after decode/,
    ({ last, cells }, _, sets) => {
      if (last === undefined || sets < 2 || last.head + last.n >= cells.length) return;
      last.head++;
    },
  ],
  [
    'the window is too short',
    /INV-RS-7 after decode/,
    ({ last }, _, sets) => {
      if (sets > 1) last!.n = sets - 1;
    },
  ],
  [
    'the window goes beyond the cells',
    /INV-RS-7 after decode/,
    ({ last, cells }) => {
      if (last !== undefined && last.n > 2) last.n = cells.length + 1 - last.head;
    },
  ],
  [
    'two sets start from the states of each other',
    /INV-RS-13 after decode/,
    ({ last }, _, sets) => {
      const src0 = last?.src0;
      if (src0 !== undefined && sets > 1) [src0[0], src0[1]] = [src0[1]!, src0[0]!];
    },
  ],
  [
    'a set that goes on starts from zero',
    /INV-RS-13 after decode/,
    ({ last }, _, sets) => {
      if (sets === 1 && last !== undefined) last.src0![0] = -1;
    },
  ],
  [
    'a bystander that makes room gets the wrong state',
    /INV-RS-6 after decode/,
    (shown, _, sets) => {
      const { last, cells } = shown;
      if (last === undefined) return;
      for (let k = sets; k < last.n; k++)
        if (cells[last.head + k]!.seq.length > 0) last.src0![k] = last.src0![0]!;
    },
  ],
  [
    'a bystander outside of the window is moved',
    /INV-RS-6 after decode/,
    (shown, call) => {
      const [a, b] = busy(shown).filter((i) => !inWindow(shown, i));
      if (call === 'decode' && b !== undefined) exchange(shown, a!, b);
    },
  ],
  [
    'a state lies in the row of another cell',
    /INV-RS-9 after/,
    (shown) => {
      const [a, b] = busy(shown);
      if (b !== undefined) shown.cells[b]!.src = a;
    },
  ],
  [
    'a new sequence starts from what a removed one has left',
    /INV-RS-11 after decode/,
    ({ last }) => {
      last?.src0?.forEach((from, k) => {
        if (from < 0) last.src0![k] = last.head + k;
      });
    },
  ],
  [
    'a refused call changes cells',
    /INV-RS-16 after refused/,
    (shown, call) => {
      const [a] = busy(shown);
      if (call.startsWith('refused') && a !== undefined && shown.cells.length > 1)
        exchange(shown, a, (a + 1) % shown.cells.length);
    },
  ],
  [
    'a removal moves what remains',
    /INV-RS-16 after seqRm/,
    (shown, call) => {
      const [a, b] = busy(shown);
      if (call === 'seqRm' && b !== undefined) exchange(shown, a!, b);
    },
  ],
];

describe('recurrent-cells', () => {
  it('holds where cells are right, and reaches its classes', async () => {
    const env = cellsEnv();
    const { failed, compared } = await runCases(recurrentCells, env, 800);
    expect(failed?.failure?.message).toBeUndefined();
    expect(compared).toBeGreaterThan(10_000);
    const offered = { subject: env.subject, memory: env.model.memory };
    expect(missingClasses(env.coverage, recurrentCells, offered)).toEqual([]);
  });

  it('holds where nothing is shown but positions, owners and tails', async () => {
    const least: Fault = (shown) => {
      delete shown.used;
      delete shown.last;
      for (const cell of shown.cells) delete cell.src;
    };
    expect((await runCases(recurrentCells, cellsEnv(least), 200)).failed).toBeNull();
  });

  it.each(FAULTS)('sees: %s', async (_, rule, fault) => {
    const env = cellsEnv(fault);
    const { failed } = await runCases(recurrentCells, env, 500);
    expect(failed?.failure?.signature).toMatch(rule);
    const small = await shrinkGreedily(recurrentCells, env, failed!, 300);
    expect(small.failure!.case.script!.calls.length).toBeLessThanOrEqual(5);
  });

  it('tells what is worse than a wrong count, though it comes later', async () => {
    const env = cellsEnv((shown, call) => {
      shown.used = -1;
      if (call === 'seqCp') shown.tail.fill(-1);
    });
    let told = '';
    for (let i = 0; i < 60 && !told.includes('INV-RS-1 '); i++)
      told = (await recurrentCells.run(env, recurrentCells.generate(env, i))).failure!.signature;
    expect(told).toMatch(/INV-RS-1 after seqCp/);
  });

  it('skips a model whose cells are not shown, and tells those that hide halfway', async () => {
    const hidden = (from: number): Env => {
      let looks = 0;
      return cellsEnv(() => {
        if (looks++ >= from) throw new IsobatchError('refused', 'they are elsewhere', { mark: 'elsewhere' });
      });
    };
    const first = (env: Env) => recurrentCells.run(env, recurrentCells.generate(env, 0));
    expect(await first(hidden(0))).toMatchObject({
      status: 'skipped',
      reason: 'they are elsewhere',
      compared: 0,
    });
    expect((await first(hidden(1))).failure?.signature).toMatch(/refused\.refused: elsewhere/);
  });

  it('is skipped with the reason', () => {
    const env = cellsEnv();
    const open = { subject: { info: env.subject } } as never;
    const reason = (memory: 'attention' | 'recurrent' | 'hybrid', cells?: object): string | null =>
      skipReason(recurrentCells, open, { ...env.model, memory }, { cells } as never);
    expect(reason('attention')).toBe('the model has no recurrent memory');
    expect(reason('recurrent')).toBe('the subject does not show its cells');
    expect(reason('recurrent', { none: 'they are hidden' })).toBe('they are hidden');
    expect(reason('hybrid', ['recurrent'])).toBe('the subject does not show the cells of hybrid memory');
    expect(reason('hybrid', ['recurrent', 'hybrid'])).toBeNull();
  });
});
