/**
 * From readings to sentences: what is wrong with one row, or nothing. A row says which token it belongs to and what
 * that token saw; both are held against the history.
 */
import { D_CONV } from '../../golden/probes/mamba-state.ts';
import type { Reading, SetReading, StateReading, Unreadable } from '../../golden/probes/types.ts';
import type { History, Query } from './history.ts';
import { MOST_NAMES, positions, times, Words } from './words.ts';

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

export class Judge {
  readonly words: Words;
  readonly #queries: ReadonlyMap<number, Query>;

  constructor(history: History) {
    this.words = new Words(history);
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
    const text = `${this.words.query(query)}: ${parts.text.join('; ')}`;
    return { severity: parts.severity, text, fault: parts.fault };
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
  #other(query: Query, reading: SetReading | StateReading): Found {
    const { words } = this;
    const name = words.name(query.event.id);
    const own = words.name(reading.own);
    const other = this.#queries.get(reading.own);
    let text: string;
    if (other !== undefined && this.#parts(other, reading).text.length === 0) {
      const old = other.event.call < query.event.call ? `, left over from call ${other.event.call}` : '';
      text = `row of ${name} is the answer of ${own}${old} (output rows are mixed up)`;
    } else {
      const verb = reading.kind === 'set' ? 'saw' : 'its state holds';
      text = `${words.query(query)}: the token of ${own} was evaluated in its place; ${verb} ${words.names([...reading.counts.keys()])}`;
    }
    return { severity: 0, text, fault: text };
  }

  #parts(query: Query, reading: SetReading | StateReading): Parts {
    return reading.kind === 'set'
      ? setParts(this.words, query, reading)
      : stateParts(this.words, query, reading);
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

interface Parts {
  readonly text: string[];
  readonly severity: Severity;
  readonly fault: string;
}

/** Ids that are there and must not be, ids that are not there and must be, ids that are there too often. */
function difference(query: Query, counts: ReadonlyMap<number, number>) {
  const wanted = new Set(query.sees);
  const wrong = [...counts.keys()].filter((id) => !wanted.has(id));
  const missing = query.sees.filter((id) => !counts.has(id));
  const often = [...counts].filter(([id, count]) => count > 1 && wanted.has(id));
  return { wrong, missing, often };
}

function setParts(words: Words, query: Query, { counts, mass }: SetReading): Parts {
  const { wrong, missing, often } = difference(query, counts);
  const text: string[] = [];
  if (counts.size === 0) text.push('saw nothing');
  else if (missing.length > 0) text.push(`did not see ${words.names(missing)}`);
  if (wrong.length > 0) text.push(`saw ${words.foreign(wrong, query).text}, which it must not`);
  for (const [id, count] of often) text.push(`saw ${words.name(id)} ${times(count)}`);
  let n = 0;
  for (const count of counts.values()) n += count;
  const empty = counts.size === 0 ? 0 : Math.round(n / mass) - n;
  if (empty > 0) text.push(`saw ${empty === 1 ? 'a cell' : `${empty} cells`} without content`);
  if (empty < 0) text.push(`the sum of its attention weights is ${mass.toPrecision(3)}, must be 1`);
  const severity = wrong.length > 0 || often.length > 0 || empty !== 0 ? 1 : 2;
  return { text, severity, fault: '' };
}

function stateParts(words: Words, query: Query, reading: StateReading): Parts {
  const { counts, ages, lags } = reading;
  const { wrong, missing, often } = difference(query, counts);
  const text: string[] = [];
  if (wrong.length > 0) {
    const told = words.foreign(wrong, query);
    text.push(`state holds ${told.text}, which it must not${agesOf(told.ids, ages)}`);
  }
  if (missing.length > 0) text.push(`state lacks ${words.names(missing)}`);
  for (const [id, count] of often) text.push(`state holds ${words.name(id)} ${times(count)}`);
  if (ages !== null && wrong.length + missing.length + often.length === 0)
    text.push(...wrongAges(words, query, ages));
  if (lags !== null) text.push(...wrongLags(words, query, lags));
  const severity = wrong.length > 0 || often.length > 0 || missing.length === 0 ? 1 : 2;
  const fault = [wrong, missing, often.map(([id, count]) => `${id} x ${count}`)].map(String).join(' / ');
  return { text, severity, fault: text.length === 0 ? '' : fault };
}

/** "; ages 3 2 1", in the order in which the tokens were told. */
function agesOf(ids: readonly number[], ages: ReadonlyMap<number, number> | null): string {
  const told = ids.map((id) => ages?.get(id) ?? -1);
  if (told.includes(-1) || told.length > MOST_NAMES) return '';
  return `; ${told.length === 1 ? 'age' : 'ages'} ${told.join(' ')}`;
}

/** Told only where the tokens are right: otherwise ages shift with the tokens. */
function wrongAges(words: Words, query: Query, ages: ReadonlyMap<number, number>): string[] {
  const last = query.sees.length - 1;
  return query.sees.flatMap((id, k) => {
    const age = ages.get(id);
    return age === undefined || age === last - k
      ? []
      : [`state has ${words.name(id)} at age ${age}, must be ${last - k}`];
  });
}

/** The window holds the last entries of the list; a part of it that was wrong before may still be there. */
function wrongLags(words: Words, query: Query, lags: ReadonlyMap<number, readonly number[]>): string[] {
  const wanted = new Map(query.sees.slice(-D_CONV).map((id, k, all) => [id, all.length - 1 - k]));
  const foreign: [id: number, lags: readonly number[]][] = [];
  const text: string[] = [];
  for (const [id, seen] of lags) {
    const want = wanted.get(id);
    if (want === undefined) foreign.push([id, seen]);
    else if (seen.some((lag) => lag !== want))
      text.push(`convolution holds ${words.name(id)} at ${lagsOf([seen])}, must be ${want}`);
  }
  if (foreign.length > 0) {
    const told = words.foreign(
      foreign.map(([id]) => id),
      query,
    );
    const at = lagsOf(told.ids.map((id) => lags.get(id)!));
    text.unshift(`convolution holds ${told.text} at ${at}, which it must not`);
  }
  const missing = words.sorted([...wanted.keys()].filter((id) => !lags.has(id)));
  if (missing.length > 0) {
    const at = lagsOf(missing.map((id) => [wanted.get(id)!]));
    text.push(`convolution lacks ${words.names(missing)} at ${at}`);
  }
  return text;
}

/** "lag 1", "lags 3 2 1", "lags 2+1" for one token at two lags. */
function lagsOf(seen: readonly (readonly number[])[]): string {
  const many = seen.length > 1 || seen[0]!.length > 1;
  return `${many ? 'lags' : 'lag'} ${seen.map((lags) => lags.join('+')).join(' ')}`;
}
