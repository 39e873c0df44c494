/** Smaller names: sequences 0, 1, ... in order of appearance, tokens 0, 1, ...; what differs stays different. */
import { appearance } from './shrink-calls.ts';
import { renameTokens, tokensOf } from './shrink-model.ts';
import { idsOf } from './trace.ts';
import type { Call, Script } from './types.ts';

export interface Renamed {
  readonly script: Script;
  readonly names: ReadonlyMap<number, number>;
}

/** All sequences at once, then one in exchange for a smaller id. */
export function* smallerSequenceIds(script: Script): Generator<Renamed> {
  const { n_seq_max } = script.params;
  const used = appearance(script.calls).filter((id) => id >= 0 && id < n_seq_max);
  const rest = Array.from({ length: n_seq_max }, (_, id) => id).filter((id) => !used.includes(id));
  yield renameSequences(script, new Map([...used, ...rest].map((id, i) => [id, i])));
  for (const id of used) {
    for (let lower = 0; lower < id; lower++) {
      if (!used.includes(lower)) yield renameSequences(script, swap(lower, id));
    }
  }
}

export function swap(a: number, b: number): ReadonlyMap<number, number> {
  return new Map([
    [a, b],
    [b, a],
  ]);
}

/** The script with other names for its sequences; ids that have no new name keep theirs. */
export function renameSequences(script: Script, names: ReadonlyMap<number, number>): Renamed {
  const name = (id: number): number => names.get(id) ?? id;
  const calls = script.calls.map((call): Call => {
    if (call.op === 'clear' || call.op === 'newContext') return call;
    if (call.op === 'seqCp') return { ...call, from: name(call.from), to: name(call.to) };
    if (call.op !== 'decode' && call.op !== 'encode')
      return call.seq === undefined ? call : { ...call, seq: name(call.seq) };
    const seq_id = call.batch.token.map((_, i) =>
      idsOf(call.batch, i)
        .map(name)
        .sort((a, b) => a - b),
    );
    // Ids that are missing for a reason stay missing: a refused batch may have too few of them.
    return call.refused !== undefined && call.batch.seq_id === undefined
      ? call
      : { ...call, batch: { ...call.batch, seq_id } };
  });
  return { script: { params: script.params, calls }, names };
}

/** All tokens at once, then one at a time. Only tokens of the vocabulary have names. */
export function* smallerTokenIds(script: Script, n_vocab: number): Generator<Script> {
  const used = [...new Set(tokensOf(script.calls))].filter((token) => token >= 0 && token < n_vocab);
  const all = new Map(used.map((token, i) => [token, i]));
  yield renameTokens(script, (token) => all.get(token) ?? token);
  if (used.length > MOST_ALONE) return;
  for (const one of used) {
    let lower = 0;
    while (used.includes(lower)) lower++;
    if (lower < one) yield renameTokens(script, (token) => (token === one ? lower : token));
  }
}

/** Renaming one token at a time is for cases that are small already. */
const MOST_ALONE = 12;
