/**
 * What is wrong with what a query saw in a layer with a window and in one without: "sequence 1, position 9 did not see
 * positions 3..5 of its own window; it saw position 4 of sequence 0". What both layers saw wrongly is told once.
 */
import type { SeenSet, WindowReading } from '../../golden/probes/types.ts';
import type { Event, History, Query } from './history.ts';
import { difference, NO_FAULT, type Parts } from './set-parts.ts';
import { times, type Words } from './words.ts';

/** A layer, by what it must see. */
interface Layer {
  readonly name: string;
  readonly sees: readonly number[];
  readonly seen: SeenSet;
}

export function windowParts(
  words: Words,
  { events }: History,
  query: Query,
  { local, global }: WindowReading,
  window: number,
): Parts {
  const { pos } = query.event;
  const inside = query.sees.filter((id) => pos - events[id]!.pos < window);
  const layers: readonly Layer[] = [
    { name: 'with the window', sees: inside, seen: local },
    { name: 'without window', sees: query.sees, seen: global },
  ];
  const places = new Places(words, events, query);
  const missing = told(layers, ({ sees, seen }, k) => {
    const { missing: ids } = difference(sees, seen.counts);
    if (seen.counts.size === 0) return 'saw nothing';
    const where = k === 0 ? 'its own window' : 'its own sequence';
    return ids.length === 0 ? null : `did not see ${places.own(ids)} of ${where}`;
  });
  const wrong = told(layers, ({ sees, seen }) => {
    const { wrong: ids } = difference(sees, seen.counts);
    return ids.length === 0 ? null : `saw ${places.foreign(ids)}`;
  });
  const often = told(layers, ({ sees, seen }) => {
    const { often: pairs } = difference(sees, seen.counts);
    if (pairs.length === 0) return null;
    return `saw ${pairs.map(([id, n]) => `${places.own([id])} of its own sequence ${times(n)}`).join(' and ')}`;
  });
  const text = [...missing, ...wrong, ...often].map((part, k) => (k === 0 ? part : `it ${part}`));
  const severity = wrong.length + often.length > 0 ? 1 : 2;
  return { start: `${places.subject()} `, text, severity, fault: NO_FAULT };
}

/** One part for each layer in which something is wrong; one for both if they differ by the layer only. */
function told(layers: readonly Layer[], part: (layer: Layer, k: number) => string | null): string[] {
  const [local, global] = layers.map(part);
  // What a window must show a sequence must show too, so both may lack the same.
  if (local != null && local.replace('its own window', 'its own sequence') === global)
    return [`${local} (both layers)`];
  return [local, global].flatMap((text, k) => {
    if (text == null) return [];
    // Only one of the layers has a window.
    return text.endsWith('of its own window') ? [text] : [`${text} (layer ${layers[k]!.name})`];
  });
}

/** Names of places in words: "positions 3..5 of its own sequence". */
class Places {
  readonly #words: Words;
  readonly #events: readonly Event[];
  readonly #query: Query;

  constructor(words: Words, events: readonly Event[], query: Query) {
    this.#words = words;
    this.#events = events;
    this.#query = query;
  }

  subject(): string {
    const { event } = this.#query;
    return event.asked ? this.#words.query(this.#query) : `${sequences(event)}, position ${event.pos}`;
  }

  own(ids: readonly number[]): string {
    return positionsOf(ids.map((id) => this.#events[id]!.pos));
  }

  /** By sequence, and why they must not be seen where that helps. */
  foreign(ids: readonly number[]): string {
    const groups = new Map<string, number[]>();
    const told: string[] = [];
    for (const id of this.#words.sorted(ids)) {
      const event = this.#events[id];
      // No event of the history, or one of a refused call.
      if (event === undefined || event.refused) told.push(this.#words.name(id));
      else {
        const whose = this.#whose(event);
        groups.set(whose, [...(groups.get(whose) ?? []), event.pos]);
      }
    }
    const places = [...groups].map(([whose, at]) => `${positionsOf(at)} of ${whose}`);
    return [...places, ...told].join(' and ');
  }

  #whose(other: Event): string {
    const { event, held, sees } = this.#query;
    const together = other.seqs.some((seq) => event.seqs.includes(seq));
    if (sees.includes(other.id)) return 'its own sequence, before its window';
    const whose = together ? 'its own sequence' : sequences(other);
    if (other.call < event.call && (together || !held.has(other.id))) return `${whose} (removed)`;
    return together && other.pos > event.pos ? `${whose} (later)` : whose;
  }
}

function sequences({ seqs }: Event): string {
  return seqs.length === 1 ? `sequence ${seqs[0]}` : `sequences ${seqs.join(' and ')}`;
}

/** "position 4", "positions 3..5 8". */
function positionsOf(all: readonly number[]): string {
  const sorted = [...new Set(all)].sort((a, b) => a - b);
  const runs: [from: number, to: number][] = [];
  for (const pos of sorted) {
    const run = runs.at(-1);
    if (run !== undefined && run[1] === pos - 1) run[1] = pos;
    else runs.push([pos, pos]);
  }
  const told = runs.map(([from, to]) => (from === to ? `${from}` : `${from}..${to}`)).join(' ');
  return `${sorted.length === 1 ? 'position' : 'positions'} ${told}`;
}
