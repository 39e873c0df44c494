/** A plan as one C file: the head says what it is for, then the fixed part, then the histories and the comparison. */
import type { Batch } from '../../../../contract/batch.ts';
import type { ContextParams } from '../../../../contract/subject.ts';
import { contextValues } from '../context-params.ts';
import { type ContextLayout, contextLayouts } from '../layout.ts';
import { layoutTable, MOST_FIELDS } from './layouts.ts';
import type { History, Plan, PlannedBatch, RowCheck, Step } from './plan.ts';
import { HISTORIES, STEPS } from './runtime-calls.ts';
import { AS_IT_IS, BASE, HEAD, QUANTIZED, START } from './runtime-library.ts';
import { ROW_OF, SAME_ROW, SAME_VALUE } from './runtime-rows.ts';

export interface ProgramFacts {
  /** Lines for the head of the file: what fails. */
  readonly about: readonly string[];
  /** Of the model file, as the program looks for it if it is not named. */
  readonly model: string;
  /** The one release that it is for; default: all that are known. */
  readonly layout?: ContextLayout;
  /** The library quantizes the model itself: value of `enum llama_ftype`. */
  readonly ftype?: number;
  /** Instruction set that is asked for, if the build has it as a file. */
  readonly isa?: string;
}

/** Text of `reproduce.c`. */
export function programText(plan: Plan, facts: ProgramFacts): string {
  const about = [
    ...facts.about,
    '',
    'Build:  cc reproduce.c -o reproduce -ldl',
    'Run:    ./reproduce PATH/libllama.so [MODEL.gguf]',
    'Exit:   0 it holds in this build, 1 it fails (also if the library aborts), 2 it could not be run',
    'Linux x86-64 only: structs are passed by value under the calling convention of that platform.',
  ];
  const layouts = facts.layout === undefined ? contextLayouts : [facts.layout];
  const parts = [
    comment(about),
    `#define _GNU_SOURCE`,
    `#define MODEL ${quoted(facts.model)}`,
    `#define ISA ${quoted(facts.isa ?? '')} /* instruction set of the CPU code, where the build has a choice */`,
    ...(facts.ftype === undefined ? [] : [`#define FTYPE ${facts.ftype} /* of enum llama_ftype */`]),
    `#define MOST_IDS ${mostIds(plan)}`,
    `#define MOST_FIELDS ${MOST_FIELDS}`,
    HEAD,
    layoutTable(layouts),
    BASE,
    facts.ftype === undefined ? AS_IT_IS : QUANTIZED,
    START,
    HISTORIES,
    ...slotLines(plan),
    ...usedParts(plan),
    '/* ---- the case ---- */',
    ...plan.histories.map((history) => historyText(history, plan, layouts)),
    mainText(plan),
  ];
  return `${parts.join('\n').replaceAll(/\n{3,}/g, '\n\n')}\n`;
}

/** Kept states. A name may be used by both histories, one after the other. */
function slotLines({ histories }: Plan): string[] {
  const slots = histories.flatMap((h) => h.steps.flatMap((s) => (s.do === 'state_save' ? [s.slot + 1] : [])));
  if (slots.length === 0) return [];
  return ['struct slot { uint8_t *data; size_t size; };', `static struct slot SLOTS[${Math.max(...slots)}];`];
}

/** What the case does not need is left out. */
function usedParts({ histories, rows }: Plan): string[] {
  const steps = new Set(histories.flatMap((h) => h.steps.map((step) => step.do as string)));
  const other = rows.some((row) => row.other !== undefined);
  return [
    ...Object.entries(STEPS).flatMap(([name, text]) => (steps.has(name) ? [text] : [])),
    ...(rows.length > 0 ? [ROW_OF] : []),
    ...(other ? [SAME_ROW] : []),
    ...(rows.some((row) => row.other === undefined) ? [SAME_VALUE] : []),
  ];
}

/** Nothing that stands in a case may end a comment or a string. */
function comment(lines: readonly string[]): string {
  const safe = lines.map((line) => ` * ${line.replaceAll('*/', '* /')}`.trimEnd());
  return `/*\n${safe.join('\n')}\n */`;
}

export function quoted(text: string): string {
  const escaped = text.replaceAll(/[^ -~]|["\\?]/g, (char) =>
    [...Buffer.from(char)].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join(''),
  );
  return `"${escaped}"`;
}

function batchesOf(plan: Plan): Batch[] {
  return plan.histories.flatMap(({ steps }) =>
    steps.flatMap((s) => (s.do === 'decode' || s.do === 'encode' ? [s.planned.batch] : [])),
  );
}

function mostIds(plan: Plan): number {
  return Math.max(1, ...batchesOf(plan).flatMap(({ seq_id }) => (seq_id ?? []).map((ids) => ids.length)));
}

function historyText(
  { name, title, params, steps }: History,
  plan: Plan,
  layouts: readonly ContextLayout[],
): string {
  const open = plan.open_fails ? 1 : 0;
  return [
    `static void run_${name}(struct history *h)`,
    '{',
    '    /* n_ctx by layout: room for each sequence, and what the release needs besides */',
    ...contextTables('', params, layouts),
    ...steps.flatMap((s) => (s.do === 'next_context' ? contextTables(`_${s.call}`, s.params, layouts) : [])),
    ...steps.flatMap((step) => tokenTable(step)),
    `    open_history(h, ${quoted(title)}, N_CTX[layout - LAYOUTS], SETTINGS, ${open});`,
    ...steps.map((step) => `    ${stepText(step)}`),
    '    close_history(h);',
    '}',
    '',
  ].join('\n');
}

function contextTables(suffix: string, params: ContextParams, layouts: readonly ContextLayout[]): string[] {
  const values = layouts.map(({ fields }) => contextValues(params, fields));
  const { n_ctx: _, ...same } = values[0]!;
  return [
    `    static const long N_CTX${suffix}[] = { ${values.map(({ n_ctx }) => n_ctx).join(', ')} };`,
    `    static const struct setting SETTINGS${suffix}[] = {`,
    ...Object.entries(same).map(([name, value]) => `        { "${name}", ${value} },`),
    '        { NULL, 0 }',
    '    };',
  ];
}

function tokenTable(step: Step): string[] {
  if (step.do !== 'decode' && step.do !== 'encode') return [];
  if (step.planned.batch.token.length === 0) return [];
  const { batch, pos } = step.planned;
  const rows = batch.token.map((token, i) => {
    const ids = batch.seq_id?.[i] ?? [0];
    const list = ids.length === 0 ? '{ 0 }' : `{ ${ids.join(', ')} }`;
    return `        { ${int(token)}, ${int(pos[i]!)}, ${ids.length}, ${list}, ${batch.logits?.[i] ? 1 : 0} },`;
  });
  return [
    `    static const struct token CALL_${step.call}[] = { /* token, position, sequences, output */`,
    ...rows,
    '    };',
  ];
}

/** INT_MIN has no literal of its own. */
function int(value: number): string {
  return value <= -(2 ** 31) ? '(-2147483647 - 1)' : String(Math.min(value, 2 ** 31 - 1));
}

function stepText(step: Step): string {
  switch (step.do) {
    case 'decode':
    case 'encode':
      return batchText(step.do, step.call, step.planned, step.refused);
    case 'seq_rm':
      return `seq_rm(h, ${step.call}, ${step.args.map(int).join(', ')}, ${step.refused ? 1 : 0});`;
    case 'seq_cp':
    case 'seq_add':
    case 'seq_div':
    case 'seq_keep':
      return `${step.do}(h, ${step.call}, ${step.args.map(int).join(', ')});`;
    case 'clear':
      return `clear(h, ${step.call});`;
    case 'state_save':
      return `state_save(h, ${step.call}, ${step.slot}, ${step.seq});`;
    case 'state_load':
      return `state_load(h, ${step.call}, ${step.slot}, ${step.seq}, ${step.cut}, ${step.refused ? 1 : 0});`;
    case 'next_context':
      return `next_context(h, ${step.call}, N_CTX_${step.call}[layout - LAYOUTS], SETTINGS_${step.call}, ${step.refused ? 1 : 0});`;
    case 'positions':
      return `positions(h, ${step.call}, ${step.seq}, ${step.min ?? 'NOT_ASKED'}, ${step.max});`;
    case 'nothing':
      return `/* call ${step.call} is not made: ${step.why} */`;
  }
}

function batchText(what: string, call: number, { batch }: PlannedBatch, refused: boolean): string {
  const given = [
    ...(batch.pos === undefined ? [] : ['POS']),
    ...(batch.seq_id === undefined ? [] : ['SEQ_ID']),
    ...(batch.logits === undefined ? [] : ['LOGITS']),
  ];
  const n = batch.token.length;
  return `${what}(h, ${call}, ${n === 0 ? 'NULL' : `CALL_${call}`}, ${n}, ${given.join(' | ') || '0'}, ${refused ? 1 : 0});`;
}

function mainText({ histories, rows, hangs }: Plan): string {
  return [
    'int main(int argc, char **argv)',
    '{',
    `    static struct history ${histories.map(({ name }) => name).join(', ')};`,
    '    if (argc < 2 || argc > 3) {',
    '        fprintf(stderr, "usage: %s PATH/libllama.so [MODEL.gguf]\\n", argv[0]);',
    '        return 2;',
    '    }',
    '    start(argv[1], argc > 2 ? argv[2] : MODEL);',
    ...(hangs ? ['    alarm(60); /* the failure is that a call does not come back */'] : []),
    ...histories.map(({ name }) => `    run_${name}(&${name});`),
    ...rows.map((row) => `    ${rowText(row)}`),
    '    puts(fails ? "it FAILS in this build" : "it holds in this build");',
    '    return fails;',
    '}',
  ].join('\n');
}

function rowText({ call, index, what, other, judged }: RowCheck): string {
  const row = `&script, ${call}, ${index}, ${quoted(what)}`;
  if (other === undefined)
    return `same_value(${row}, ${judged!.element}, ${judged!.want}, ${judged!.bound});`;
  const { history, call: otherCall, index: otherIndex } = other;
  const decides = judged === undefined ? '-1, 0' : `${judged.element}, ${judged.bound}`;
  return `same_row(${row}, &${history}, ${otherCall}, ${otherIndex}, ${decides});`;
}
