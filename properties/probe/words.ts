/** Names of events in sentences: `1@0` is the token of sequence 1 at position 0, `{0,2}@3` one that two sequences share. */
import type { Event, History, Query } from './history.ts';

/** More names than this are told as ranges. */
export const MOST_NAMES = 8;

export class Words {
  readonly #events: readonly Event[];
  /** Events by their plain name. */
  readonly #alike = new Map<string, number>();

  constructor({ events }: History) {
    this.#events = events;
    for (const event of events) {
      if (event.refused || event.asked) continue;
      const name = plain(event);
      this.#alike.set(name, (this.#alike.get(name) ?? 0) + 1);
    }
  }

  /** Where a name was used again, after a removal, the call tells them apart. */
  name(id: number): string {
    const event = this.#events[id];
    if (event === undefined) return `token ${id}, which the history does not have`;
    if (event.refused) return `token ${event.index} of the refused call ${event.call}`;
    if (event.asked) return `the next token of sequence ${event.seqs[0]}`;
    const name = plain(event);
    return this.#alike.get(name)! > 1 ? `${name} of call ${event.call}` : name;
  }

  /** The beginning of a sentence about a query. */
  query({ event }: Query): string {
    return event.asked ? this.name(event.id) : `query ${this.name(event.id)}`;
  }

  /** Names in order; those that follow each other in a sequence are drawn together where there are many. */
  names(ids: readonly number[]): string {
    const sorted = this.sorted(ids);
    if (sorted.length <= MOST_NAMES) return sorted.map((id) => this.name(id)).join(' ');
    const runs: number[][] = [];
    for (const id of sorted) {
      const run = runs.at(-1);
      if (run !== undefined && this.#follows(run.at(-1)!, id)) run.push(id);
      else runs.push([id]);
    }
    const told = runs.map((run) =>
      run.length === 1 ? this.name(run[0]!) : `${this.name(run[0]!)}..${this.name(run.at(-1)!)}`,
    );
    if (told.length <= MOST_NAMES) return told.join(' ');
    return `${told.slice(0, MOST_NAMES).join(' ')} and ${told.length - MOST_NAMES} more`;
  }

  /** By sequence, then in the order of the history. */
  sorted(ids: readonly number[]): number[] {
    return [...ids].sort((a, b) => this.#compare(a, b));
  }

  /** Names of events that a query must not see, and why where that helps; `ids` in the order in which they are told. */
  foreign(ids: readonly number[], query: Query): { text: string; ids: number[] } {
    const classes = new Map<string, number[]>();
    for (const id of this.sorted(ids)) {
      const why = this.#why(id, query);
      classes.set(why, [...(classes.get(why) ?? []), id]);
    }
    const text = [...classes].map(([why, some]) => this.names(some) + why).join(' ');
    return { text, ids: [...classes.values()].flat() };
  }

  #why(id: number, { event, held }: Query): string {
    const other = this.#events[id];
    if (other === undefined || other.refused) return '';
    const together = other.seqs.some((seq) => event.seqs.includes(seq));
    // What was in this sequence before and is not any more, or what no sequence has any more.
    if (other.call < event.call) return together || !held.has(id) ? ' (removed)' : '';
    return together && other.pos > event.pos ? ' (later)' : '';
  }

  #compare(a: number, b: number): number {
    const x = this.#events[a];
    const y = this.#events[b];
    if (x === undefined || y === undefined) return a - b;
    return x.seqs[0]! - y.seqs[0]! || x.call - y.call || x.index - y.index;
  }

  #follows(a: number, b: number): boolean {
    const x = this.#events[a];
    const y = this.#events[b];
    if (x === undefined || y === undefined || x.refused || y.refused) return false;
    return x.call === y.call && x.seqs.join() === y.seqs.join() && y.pos === x.pos + 1;
  }
}

function plain({ seqs, pos }: Event): string {
  return seqs.length === 1 ? `${seqs[0]}@${pos}` : `{${seqs.join()}}@${pos}`;
}

export function times(n: number): string {
  return n === 2 ? 'twice' : `${n} times`;
}

/** "one position", "3 positions". */
export function positions(n: number): string {
  return n === 1 ? 'one position' : `${n} positions`;
}
