/**
 * From readings to sentences: what is wrong with one row, or nothing. A row says which token it belongs to and what
 * that token saw; both are held against the history.
 */
import type {
  HybridReading,
  Reading,
  SetReading,
  StateReading,
  Unreadable,
  WindowReading,
} from '../../golden/probes/types.ts';
import type { History, Query } from './history.ts';
import { NO_FAULT, type Parts, setParts } from './set-parts.ts';
import { stateParts } from './state-parts.ts';
import { windowParts } from './window-parts.ts';
import { positions, Words } from './words.ts';

/** Rows that are mixed up come first, then what was seen wrongly, then what is missing, then what nobody can read. */
export type Severity = 0 | 1 | 2 | 3;

export interface Finding {
  readonly query: Query;
  readonly severity: Severity;
  /** A state goes on with the fault of the query before it, and adds none of its own. */
  readonly inherited: boolean;
  /** The row is all zeros: nothing is known of its query. */
  readonly blank: boolean;
  readonly text: string;
}

export interface Found {
  readonly severity: Severity;
  readonly text: string;
  /** What is wrong, whoever sees it: equal for a query that only inherits it. */
  readonly fault: string;
  readonly blank?: boolean;
}

/** A distance that is further off than this is wrong (spec: probes.md 2). */
const POSITION_ALARM = 0.45;
const MOST_DISTANCES = 4;

/** A reading of everything that a token saw. */
type Seen = SetReading | StateReading | WindowReading | HybridReading;

export class Judge {
  readonly words: Words;
  readonly #history: History;
  readonly #window: number;
  readonly #queries: ReadonlyMap<number, Query>;

  /** `window`: of the probe's local layer, if it has one. */
  constructor(history: History, window = Number.POSITIVE_INFINITY) {
    this.words = new Words(history);
    this.#history = history;
    this.#window = window;
    const all = history.queries.flatMap((queries) => queries ?? []);
    this.#queries = new Map(all.map((query) => [query.event.id, query]));
  }

  /** What is wrong with a query's row; null if nothing is. */
  judge(query: Query, reading: Reading): Found | null {
    if (reading.kind === 'unreadable') return this.#unreadable(query, reading);
    if (reading.kind === 'positions') return this.#positions(query, reading.distances);
    if (reading.own !== query.event.id) return this.#other(query, reading);
    const parts = this.#parts(query, reading);
    if (parts.text.length === 0) return null;
    const start = parts.start ?? `${this.words.query(query)}: `;
    return { severity: parts.severity, text: start + parts.text.join('; '), fault: parts.fault };
  }

  #unreadable(query: Query, { reason, blank }: Unreadable): Found {
    const name = this.words.name(query.event.id);
    if (blank) return { severity: 0, text: this.blankRows([query]), fault: `blank ${name}`, blank };
    const text = `row of ${name} cannot be read: ${reason}`;
    return { severity: 3, text, fault: text };
  }

  blankRows(queries: readonly Query[]): string {
    const names = this.words.names(queries.map(({ event }) => event.id));
    const [rows, were, their] = queries.length === 1 ? ['row', 'was', 'its'] : ['rows', 'were', 'their'];
    return `${rows} of ${names} ${were} never written (all ${their} logits are 0)`;
  }

  /** The row belongs to another token: either the rows are mixed up, or the wrong token was evaluated. */
  #other(query: Query, reading: Seen): Found {
    const { words } = this;
    const name = words.name(query.event.id);
    const own = words.name(reading.own);
    const other = this.#queries.get(reading.own);
    let text: string;
    if (other !== undefined && this.#parts(other, reading).text.length === 0) {
      const old = other.event.call < query.event.call ? `, left over from call ${other.event.call}` : '';
      text = `row of ${name} is the answer of ${own}${old} (output rows are mixed up)`;
    } else {
      text = `${words.query(query)}: the token of ${own} was evaluated in its place; ${this.#all(reading)}`;
    }
    return { severity: 0, text, fault: text };
  }

  /** All that a row says, in words. */
  #all(reading: Seen): string {
    const names = (counts: ReadonlyMap<number, number>): string => this.words.names([...counts.keys()]);
    switch (reading.kind) {
      case 'set':
        return `saw ${names(reading.counts)}`;
      case 'state':
        return `its state holds ${names(reading.counts)}`;
      case 'window':
        return `saw ${names(reading.global.counts)}, in the layer with the window ${names(reading.local.counts)}`;
      case 'hybrid':
        return `its state holds ${names(reading.state.counts)}, attention saw ${names(reading.set.counts)}`;
    }
  }

  #parts(query: Query, reading: Seen): Parts {
    const { words } = this;
    switch (reading.kind) {
      case 'set':
        return setParts(words, query, reading);
      case 'state':
        return stateParts(words, query, reading);
      case 'window':
        return windowParts(words, this.#history, query, reading, this.#window);
      case 'hybrid': {
        const set = setParts(words, query, reading.set, 'attention ');
        const state = stateParts(words, query, reading.state);
        if (set.text.length === 0) return state;
        const text = [...set.text, ...state.text];
        const severity =
          state.text.length === 0 || set.severity < state.severity ? set.severity : state.severity;
        return { text, severity, fault: NO_FAULT };
      }
    }
  }

  /** All keys off by the same: the query is; else each key by itself. */
  #positions(query: Query, distances: ReadonlyMap<number, number>): Found | null {
    const { words } = this;
    const at = new Map(query.sees.map((id) => [id, this.#queries.get(id)!.event.pos]));
    const wrong: { id: number; got: number; want: number }[] = [];
    let right = 0;
    for (const [id, got] of distances) {
      const pos = at.get(id);
      if (pos === undefined) continue;
      const want = query.event.pos - pos;
      if (Math.abs(got - want) > POSITION_ALARM) wrong.push({ id, got, want });
      else right++;
    }
    if (wrong.length === 0) return null;
    const [step, ...others] = new Set(wrong.map(({ got, want }) => Math.round(got - want)));
    const name = words.query(query);
    if (others.length === 0 && right === 0 && step !== 0) {
      const text = `${name}: sees its keys ${positions(Math.abs(step!))} too ${step! > 0 ? 'far' : 'near'}`;
      return { severity: 1, text, fault: text };
    }
    const told = wrong
      .slice(0, MOST_DISTANCES)
      .map(({ id, got, want }) => `sees ${words.name(id)} at distance ${round(got)}, must be ${want}`);
    const rest = wrong.length > told.length ? `; and ${wrong.length - told.length} more` : '';
    const text = `${name}: ${told.join('; ')}${rest}`;
    return { severity: 1, text, fault: text };
  }
}

/** A distance that is no whole number is told as it is. */
function round(distance: number): string {
  const nearest = Math.round(distance);
  return Math.abs(distance - nearest) < 0.2 ? String(nearest) : distance.toFixed(1);
}
