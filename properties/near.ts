/**
 * Rows of a subject that does not promise the same bits, held against another of its answers: bounds are derived by the
 * oracle, or measured on copies of the model where it has no forward pass. While a case is made smaller, a first look
 * may do instead (`first-look.ts`).
 */
import { rowWidth } from '../contract/subject.ts';
import { BoundedRows, type RowPair, type RowVerdict } from './bounded.ts';
import { boundsBy } from './bounds-by.ts';
import { noiseFor, noiseRowsOf, type Spread } from './noise-rows.ts';
import { type OracleRow, oracleRowsOf, rowKey } from './oracle-rows.ts';
import type { Rows } from './run-script.ts';
import { trace } from './trace.ts';
import type { Env, Script } from './types.ts';

/** A row of the history, and the bits that it must have but for rounding. */
export interface Pair {
  readonly rows: Rows;
  readonly call: number;
  readonly index: number;
  readonly want: Uint32Array;
  /** Where the wanted row begins. */
  readonly wantAt: number;
}

export class Near {
  readonly rows: BoundedRows;
  /** The verdict on some row is that of a first look. */
  looked = false;
  readonly #env: Env;
  readonly #script: Script;
  #rows: ReadonlyMap<string, OracleRow | Spread> | undefined;
  readonly #told = new Map<Pair, RowVerdict>();

  constructor(env: Env, script: Script) {
    this.rows = new BoundedRows(env, script.params);
    this.#env = env;
    this.#script = script;
  }

  /** Before any of them is judged: measures what has to be measured. Throws `gguf` where no copies can be made. */
  async prepare(pairs: readonly Pair[]): Promise<void> {
    if (boundsBy(this.#env) === 'oracle') return;
    const look = this.#env.first_look;
    const rest = look?.on === true ? this.#unclear(pairs) : pairs;
    const rows = rest.map(({ call, index }) => [call, index] as const);
    this.#rows = await noiseRowsOf(this.#env, this.#script, rows, look !== undefined);
  }

  /** What is known or a first look cannot tell. If one row is off at sight, nothing else has to be known. */
  #unclear(pairs: readonly Pair[]): Pair[] {
    const { params } = this.#script;
    const look = this.#env.first_look!;
    const noise = noiseFor(this.#env);
    const { calls } = trace(this.#script, this.#env.model.memory);
    const known: Pair[] = [];
    const unclear: Pair[] = [];
    let divergent = false;
    for (const pair of pairs) {
      const { seen } = calls[pair.call]!.tokens[pair.index]!;
      if (seen !== null && noise.knows(seen, params)) {
        known.push(pair);
        continue;
      }
      const far = this.#farthest(pair);
      const verdict = look.verdict(params, far.difference);
      this.#told.set(pair, verdict === 'divergent' ? this.#off(far, look.most(params)) : NEAR);
      if (verdict === null) unclear.push(pair);
      divergent ||= verdict === 'divergent';
    }
    this.looked = divergent || known.length + unclear.length < pairs.length;
    if (divergent) return known;
    for (const pair of unclear) this.#told.delete(pair);
    return [...known, ...unclear];
  }

  get #rowWidth(): number {
    return rowWidth(this.#env.model, this.#script.params);
  }

  #farthest(pair: Pair): Far {
    const { got, at, want, wantAt } = this.#floats(pair);
    let far: Far = { index: 0, difference: 0, got: 0, want: 0 };
    for (let index = 0; index < this.#rowWidth; index++) {
      const [have, wanted] = [got[at + index]!, want[wantAt + index]!];
      const gap = Math.abs(have - wanted);
      const difference = Number.isNaN(gap) ? Number.POSITIVE_INFINITY : gap;
      if (difference > far.difference) far = { index, difference, got: have, want: wanted };
    }
    return far;
  }

  #off({ index, got, want, difference }: Far, bound: number): RowVerdict {
    const sigmas = difference / (bound / this.rows.width(2));
    const missed = { bound, sigmas, grade: 'not graded', by: 'copies' } as const;
    return { equal: 0, rounding: 0, divergent: 1, miss: { index, got, want, missed } };
  }

  /** Two answers of the subject to the same list: both round. */
  #floats({ rows, index, want, wantAt }: Pair): RowPair & { readonly want: Float32Array } {
    return {
      got: new Float32Array(rows.bits.buffer),
      at: rows.row[index]! * this.#rowWidth,
      want: new Float32Array(want.buffer),
      wantAt,
      routes: 2,
    };
  }

  judge(pair: Pair): RowVerdict {
    const told = this.#told.get(pair);
    if (told !== undefined) return told;
    this.#rows ??= oracleRowsOf(this.#env, this.#script);
    const row = this.#rows.get(rowKey(pair.call, pair.index))!;
    if ('sigma' in row) this.#learn(row);
    return this.rows.judge(this.#floats(pair), row);
  }

  #learn({ sigma }: Spread): void {
    const width = this.rows.width(2);
    let [least, most] = [Number.POSITIVE_INFINITY, 0];
    for (const s of sigma) [least, most] = [Math.min(least, s), Math.max(most, s)];
    this.#env.first_look?.learn(this.#script.params, width * least, width * most);
  }
}

interface Far {
  readonly index: number;
  readonly difference: number;
  readonly got: number;
  readonly want: number;
}

const NEAR: RowVerdict = { equal: 0, rounding: 0, divergent: 0, miss: null };
