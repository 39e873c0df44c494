/** One call of a history as one line, in llama.cpp's words. */
import type { Batch } from '../contract/batch.ts';
import type { ContextParams } from '../contract/subject.ts';
import type { Call } from '../properties/types.ts';

/** Tokens that are shown of a long list. */
const SHOWN = 24;

function ids(seq_id: readonly number[]): string {
  return `{${seq_id.join(',')}}`;
}

function ending(n: number): string {
  return n > SHOWN ? ` ... (${n} in all)` : '';
}

/** A batch as runs of tokens with the same sequences: "{0}: 5@0 7@1* ; {1}: 9@0*"; a star marks an output. */
export function batchInWords(batch: Batch): string {
  const n = batch.token.length;
  const parts: string[] = [];
  let before: string | undefined;
  for (let i = 0; i < Math.min(n, SHOWN); i++) {
    const set = ids(batch.seq_id?.[i] ?? [0]);
    const output = batch.logits === undefined ? i === n - 1 : batch.logits[i] === true;
    const token = `${batch.token[i]}${batch.pos === undefined ? '' : `@${batch.pos[i]}`}${output ? '*' : ''}`;
    parts.push(set === before ? token : `${before === undefined ? '' : '; '}${set} ${token}`);
    before = set;
  }
  return parts.join(' ').replaceAll(' ; ', '; ') + ending(n);
}

export function rangeInWords(p0: number, p1: number): string {
  if (p0 <= 0 && p1 < 0) return 'everything';
  return `positions ${Math.max(0, p0)} to ${p1 < 0 ? 'the end' : `${p1 - 1}`}`;
}

function changesInWords(params: Partial<ContextParams> = {}): string {
  const changes = Object.entries(params).map(([name, value]) => `${name} ${value}`);
  return changes.length === 0 ? '' : ` with ${changes.join(', ')}`;
}

export function callInWords(call: Call): string {
  const refused =
    call.op !== 'clear' && call.refused !== undefined ? `  (must be refused: ${call.refused})` : '';
  switch (call.op) {
    case 'encode':
    case 'decode': {
      const n = call.batch.token.length;
      return `${call.op} ${n} ${n === 1 ? 'token' : 'tokens'}: ${batchInWords(call.batch)}${refused}`;
    }
    case 'seqRm':
      return `remove ${rangeInWords(call.p0, call.p1)} of ${call.seq < 0 ? 'all sequences' : `sequence ${call.seq}`}${refused}`;
    case 'seqCp':
      return `copy ${rangeInWords(call.p0, call.p1)} of sequence ${call.from} to sequence ${call.to}${refused}`;
    case 'seqKeep':
      return `keep only sequence ${call.seq}${refused}`;
    case 'seqAdd':
      return `move ${rangeInWords(call.p0, call.p1)} of sequence ${call.seq} by ${call.by}${refused}`;
    case 'seqDiv':
      return `divide the positions of ${rangeInWords(call.p0, call.p1)} of sequence ${call.seq} by ${call.by}${refused}`;
    case 'clear':
      return 'clear everything';
    case 'stateSave':
      return `save ${call.seq === undefined ? 'everything' : `sequence ${call.seq}`} as ${call.slot}${refused}`;
    case 'stateLoad': {
      const what = call.cut === undefined ? call.slot : `${call.slot} without its last ${call.cut} bytes`;
      return `load ${what}${call.seq === undefined ? '' : ` into sequence ${call.seq}`}${refused}`;
    }
    case 'newContext':
      return `go on in a new context${changesInWords(call.params)}`;
  }
}
