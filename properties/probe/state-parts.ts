/** What is wrong with a recurrent state: its tokens, their order, its convolution, its token shifts. */
import { D_CONV } from '../../golden/probes/mamba-state.ts';
import type { HeldState } from '../../golden/probes/types.ts';
import type { Query } from './history.ts';
import { difference, type Parts } from './set-parts.ts';
import { MOST_NAMES, times, type Words } from './words.ts';

export function stateParts(words: Words, query: Query, reading: HeldState): Parts {
  const { counts, ages, lags, shifts, oldest } = reading;
  const { wrong, missing, often } = difference(query.sees, counts);
  const text: string[] = [];
  if (wrong.length > 0) {
    const told = words.foreign(wrong, query);
    text.push(`state holds ${told.text}, which it must not${agesOf(told.ids, ages)}`);
  }
  if (missing.length > 0) text.push(`state lacks ${words.names(missing)}`);
  for (const [id, count] of often) text.push(`state holds ${words.name(id)} ${times(count)}`);
  if (ages !== null && wrong.length + missing.length + often.length === 0)
    text.push(...wrongAges(words, query, ages, oldest));
  if (lags !== null) text.push(...wrongLags(words, query, lags));
  if (shifts !== null) text.push(...wrongShifts(words, query, shifts));
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
function wrongAges(words: Words, query: Query, ages: ReadonlyMap<number, number>, oldest: number): string[] {
  const last = query.sees.length - 1;
  return query.sees.flatMap((id, k) => {
    const age = ages.get(id);
    const want = last - k;
    if (age === want || (age === undefined && want >= oldest)) return [];
    return [
      `state has ${words.name(id)} at ${age === undefined ? `an age beyond ${oldest}` : `age ${age}`}, must be ${want}`,
    ];
  });
}

/** Each token shift holds the token before, or nothing at the start. */
function wrongShifts(words: Words, query: Query, shifts: ReadonlyMap<string, readonly number[]>): string[] {
  const want = query.sees.slice(-2, -1);
  return [...shifts].flatMap(([name, ids]) => {
    if (ids.join() === want.join()) return [];
    const told = (some: readonly number[]): string => (some.length === 0 ? 'nothing' : words.names(some));
    return [`token shift of the ${name} holds ${told(ids)}, must be ${told(want)}`];
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
