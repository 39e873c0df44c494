/**
 * Failures that look like one bug: those with one signature, and those of different properties or models of one
 * architecture whose cases have shrunk to the same shape (the same calls on as many tokens of the same sequences,
 * whatever the sequences are called and the tokens are), with the same kind of difference.
 */
import type { FailureRecord } from './campaign-result.ts';
import { idsOf } from './trace.ts';
import type { Call, Script } from './types.ts';

export interface Group {
  /** The first that was found ... */
  readonly first: FailureRecord;
  /** ... and by what else it was found. */
  readonly also: readonly FailureRecord[];
}

/** Groups in the order of their first failures. */
export function groupsOf(records: readonly FailureRecord[]): Group[] {
  const groups: { first: FailureRecord; also: FailureRecord[]; keys: Set<string> }[] = [];
  for (const record of records) {
    const keys = keysOf(record);
    const home = groups.find((g) => keys.some((key) => g.keys.has(key)));
    if (home === undefined) groups.push({ first: record, also: [], keys: new Set(keys) });
    else {
      home.also.push(record);
      for (const key of keys) home.keys.add(key);
    }
  }
  return groups.map(({ first, also }) => ({ first, also }));
}

function keysOf({ signature, failure }: FailureRecord): string[] {
  const { script } = failure.case;
  const own = `signature ${signature}`;
  // A history without calls is the same for everybody.
  if (script === undefined || script.calls.length === 0) return [own];
  const parts = signature.split('/');
  return [own, `shape ${parts[1]} ${parts.at(-1)} ${shapeOf(script)}`];
}

/** The calls of a script, with sequences numbered as they appear and without tokens, positions, outputs and sizes. */
export function shapeOf(script: Script): string {
  const names = new Map<number, number>();
  const name = (seq: number): number => {
    if (seq < 0) return -1;
    if (!names.has(seq)) names.set(seq, names.size);
    return names.get(seq)!;
  };
  return script.calls.map((call) => callShape(call, name)).join('; ');
}

function callShape(call: Call, name: (seq: number) => number): string {
  const refused = call.op !== 'clear' && call.refused !== undefined ? ` refused ${call.refused}` : '';
  switch (call.op) {
    case 'encode':
    case 'decode': {
      const { batch } = call;
      const tokens = batch.token.map((_, i) => {
        const ids = idsOf(batch, i).map(name);
        return `{${ids.sort((a, b) => a - b).join()}}`;
      });
      return `${call.op} ${tokens.join(' ')}${refused}`;
    }
    case 'seqRm':
      return `rm ${name(call.seq)} ${range(call)}${refused}`;
    case 'seqCp':
      return `cp ${name(call.from)} ${name(call.to)} ${range(call)}${refused}`;
    case 'seqKeep':
      return `keep ${name(call.seq)}${refused}`;
    case 'seqAdd':
    case 'seqDiv':
      return `${call.op} ${name(call.seq)} ${range(call)} by ${call.by}${refused}`;
    case 'clear':
      return 'clear';
    case 'stateSave':
      return `save ${call.seq === undefined ? 'all' : name(call.seq)}`;
    case 'stateLoad':
      return `load ${call.seq === undefined ? 'all' : name(call.seq)}${refused}`;
    case 'newContext':
      return 'new context';
  }
}

function range({ p0, p1 }: { p0: number; p1: number }): string {
  return `${Math.max(p0, 0)}..${p1 < 0 ? 'end' : p1}`;
}
