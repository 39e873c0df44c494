/**
 * A case in words: the context, each call of the history as one line, and what differs first. For replay and for
 * reports; uses llama.cpp's words.
 */
import type { Batch } from '../contract/batch.ts';
import type { Call, Case, Failure, Outcome, Script } from '../properties/types.ts';

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

function range(p0: number, p1: number): string {
  if (p0 <= 0 && p1 < 0) return 'everything';
  return `positions ${Math.max(0, p0)} to ${p1 < 0 ? 'the end' : `${p1 - 1}`}`;
}

export function callInWords(call: Call): string {
  const refused =
    call.op !== 'clear' && call.refused !== undefined ? `  (must be refused: ${call.refused})` : '';
  switch (call.op) {
    case 'decode': {
      const n = call.batch.token.length;
      return `decode ${n} ${n === 1 ? 'token' : 'tokens'}: ${batchInWords(call.batch)}${refused}`;
    }
    case 'seqRm':
      return `remove ${range(call.p0, call.p1)} of ${call.seq < 0 ? 'all sequences' : `sequence ${call.seq}`}${refused}`;
    case 'seqCp':
      return `copy ${range(call.p0, call.p1)} of sequence ${call.from} to sequence ${call.to}${refused}`;
    case 'seqKeep':
      return `keep only sequence ${call.seq}${refused}`;
    case 'clear':
      return 'clear everything';
  }
}

function scriptLines(title: string, script: Script): string[] {
  const params = Object.entries(script.params).map(([name, value]) => `${name} ${value}`);
  return [`${title}: ${params.join(', ')}`, ...script.calls.map((call, i) => `  ${i}. ${callInWords(call)}`)];
}

/** White-box input as JSON, one field a line. */
function whiteLines(white: unknown): string[] {
  if (typeof white !== 'object' || white === null) return [`input: ${JSON.stringify(white)}`];
  return ['input:', ...Object.entries(white).map(([name, value]) => `  ${name}: ${JSON.stringify(value)}`)];
}

/** The history of a case. */
export function caseLines(c: Case): string[] {
  const lines = [`property ${c.property} on ${c.model}, case ${c.index} of seed ${c.seed}`];
  if (c.script !== undefined) {
    lines.push(...scriptLines('context', c.script), '  ({sequences} token@position, * is an output row)');
  }
  if (c.base !== undefined) lines.push(...scriptLines('must give the same as', c.base));
  if (c.alone !== undefined)
    lines.push(
      c.alone.length === 1
        ? 'the row must be what its sequence says alone'
        : `each of ${c.alone.length} rows must be what its sequence says alone`,
    );
  if (c.white !== undefined) lines.push(...whiteLines(c.white));
  if (c.script === undefined && c.white === undefined) lines.push('(the case could not be generated again)');
  return lines;
}

function bitsOf(value: number): string {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, value);
  return `0x${view.getUint32(0).toString(16).padStart(8, '0')}`;
}

/** A compared value: numbers that are no integers are float32, whose bits say more than their digits. */
function valueInWords(value: number | string | undefined): string {
  if (typeof value !== 'number') return value ?? '-';
  return Number.isInteger(value) ? String(value) : `${value} (bits ${bitsOf(value)})`;
}

export function failureLines(failure: Pick<Failure, 'message' | 'difference'>): string[] {
  const { what, index, got, want } = failure.difference;
  return [
    failure.message,
    `first difference: ${what}${index === undefined ? '' : `, element ${index}`}`,
    `  got  ${valueInWords(got)}`,
    `  want ${valueInWords(want)}`,
  ];
}

export function outcomeLine(outcome: Outcome): string {
  if (outcome.status === 'skipped') return `skipped: ${outcome.reason ?? 'no reason given'}`;
  const { compared, equal, rounding, divergent, tokens } = outcome;
  return `${outcome.status}: ${tokens} tokens, ${compared} elements compared: ${equal} equal, ${rounding} within rounding, ${divergent} divergent`;
}
