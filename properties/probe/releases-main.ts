/**
 * Runs random histories on every probe and release of llama.cpp and prints what the probes read: rows, wrong rows, and
 * for each kind of sentence the shortest history that gave it. A healthy release prints no sentence.
 *
 *     node dist/properties/probe/releases-main.js [--cases N] [--seed S] [--probe ARCH,...] [RELEASE or PATH ...]
 *
 * Histories are those of the generators `operations`, `solo`, `share` and `reuse`, with the parameters that the release
 * offers: n_ubatch, one cache or many, full or small windows, flash attention, F32 and F16.
 */
import { parseArgs } from 'node:util';
import type { IsobatchError } from '../../contract/errors.ts';
import type { SubjectModel, TypeKv } from '../../contract/subject.ts';
import { buildProbe } from '../../golden/probes/registry.ts';
import { oracleWhite } from '../../oracle/white.ts';
import { operations } from '../operations.ts';
import { reuse } from '../reuse.ts';
import { share } from '../share.ts';
import { solo } from '../solo.ts';
import { releaseNames } from '../subjects/llama/builds.ts';
import { type OpenSubject, openSubject } from '../subjects/registry.ts';
import type { Env, Script } from '../types.ts';
import { candidatesFor, type Probed } from './candidates.ts';
import { countEvents, historyOf } from './history.ts';
import { type Load, type ProbeStory, probeStory } from './story.ts';

const GENERATORS = [operations, solo, share, reuse];
/** Architectures with a probe of their own, and the release from which on they load. */
const ARCHS: readonly (Probed & { readonly from?: string })[] = [
  { arch: 'llama', memory: 'attention', n_layer: 1 },
  { arch: 'mamba', memory: 'recurrent', n_layer: 1 },
  { arch: 'rwkv6', memory: 'recurrent', n_layer: 1 },
  { arch: 'gemma2', memory: 'attention', n_layer: 2, from: 'b5640' },
  { arch: 'gemma2', memory: 'attention', n_layer: 26 },
  { arch: 'gemma3', memory: 'attention', n_layer: 6, from: 'b4980' },
  { arch: 'jamba', memory: 'hybrid', n_layer: 2, from: 'b6122' },
];

/** What one cell of the table gathers. */
interface Cell {
  histories: number;
  rows: number;
  wrong: number;
  /** Histories with a sentence. */
  found: number;
  /** Times the process died. */
  deaths: number;
  margin: number;
  /** By kind of sentence. */
  readonly examples: Map<string, { n: number; sentence: string; script: Script }>;
  readonly notes: Map<string, number>;
}

const { values, positionals } = parseArgs({
  options: {
    cases: { type: 'string', default: '200' },
    seed: { type: 'string', default: 'probes' },
    probe: { type: 'string' },
  },
  allowPositionals: true,
});
const libs = positionals.length > 0 ? positionals : releaseNames;
for (const lib of libs) for (const probed of ARCHS) if (wanted(lib, probed)) await runCell(lib, probed);
process.exit(0);

function wanted(lib: string, { arch, n_layer, from }: (typeof ARCHS)[number]): boolean {
  if (values.probe !== undefined && !values.probe.split(',').includes(arch)) return false;
  const at = releaseNames.indexOf(lib);
  if (at < 0) return true;
  if (arch === 'gemma2' && n_layer === 26) return at < releaseNames.indexOf('b5640');
  return from === undefined || at >= releaseNames.indexOf(from);
}

async function runCell(lib: string, probed: Probed): Promise<void> {
  const cell: Cell = {
    ...{ histories: 0, rows: 0, wrong: 0, found: 0, deaths: 0, margin: 0 },
    examples: new Map(),
    notes: new Map(),
  };
  const start = performance.now();
  let open = await openSubject({ kind: 'llama', lib }, { call_timeout_s: 20 });
  let load = loadedOnce(open);
  const env = await envFor(open, probed);
  for (let i = 0; i < Number(values.cases); i++) {
    const { script: drawn } = GENERATORS[i % GENERATORS.length]!.generate(env, i);
    if (drawn === undefined) continue;
    const script = spelled(drawn, probed, env.subject.types_kv);
    cell.histories++;
    const log = await runHistory(cell, load, probed, script);
    if (log === null) continue;
    cell.deaths++;
    keep(cell, `the process died: ${log}`, script);
    open.kill?.();
    open = await openSubject({ kind: 'llama', lib }, { call_timeout_s: 20 });
    load = loadedOnce(open);
  }
  open.kill?.();
  print(lib, probed, cell, (performance.now() - start) / 1000);
}

/** The environment in which histories are drawn: the model is the probe itself. */
async function envFor({ subject }: OpenSubject, probed: Probed): Promise<Env> {
  const [probe] = candidatesFor(probed);
  const loaded = await subject.load(buildProbe(probe!.name), probe!.name);
  return {
    seed: values.seed,
    subject: subject.info,
    model: loaded.info,
    modelName: `recipe:${probed.arch}`,
    loaded,
    oracle: oracleWhite,
    coverage: {},
    restrict: {},
  };
}

/** With positions in every batch, and K and V in a type that the release takes: the memory shall be asked, no more. */
function spelled({ params, calls }: Script, { memory }: Probed, types: readonly TypeKv[]): Script {
  const { queries } = historyOf({ params, calls }, memory, 0);
  const type_kv = params.type_kv !== undefined && types.includes(params.type_kv) ? params.type_kv : types[0];
  return {
    params: { ...params, ...(type_kv === undefined ? {} : { type_kv }) },
    calls: calls.map((call, c) => {
      const at = queries[c]?.map(({ event }) => event.pos);
      return call.op === 'decode' && at !== undefined ? { ...call, batch: { ...call.batch, pos: at } } : call;
    }),
  };
}

/** Loads each probe once and never closes it: loading takes longer than most histories. */
function loadedOnce({ subject }: OpenSubject): Load {
  const known = new Map<string, SubjectModel>();
  return async (bytes, name) => {
    const model = known.get(name) ?? (await subject.load(bytes, name));
    known.set(name, model);
    return { info: model.info, open: (params) => model.open(params), close: () => undefined };
  };
}

/** Null, or the last words of the process if it died. */
async function runHistory(cell: Cell, load: Load, probed: Probed, script: Script): Promise<string | null> {
  let story: ProbeStory;
  try {
    story = await probeStory(load, script, probed);
  } catch (error) {
    const { kind, message, detail } = error as IsobatchError;
    if (kind === 'subject') return lastWords(message, detail?.log);
    keep(cell, `threw: ${message}`, script);
    return null;
  }
  cell.rows += story.rows;
  cell.wrong += story.wrong;
  cell.margin = Math.max(cell.margin, story.margins.set ?? 0, story.margins.state ?? 0);
  cell.margin = Math.max(cell.margin, story.margins.window ?? 0, story.margins.hybrid ?? 0);
  if (story.sentences.length > 0) {
    cell.found++;
    keep(cell, story.sentences[0]!, script);
  }
  const { note } = story;
  if (note === undefined) return null;
  if (note.includes('refused: subject')) return lastWords(note, undefined);
  const short = note.replace(/\d+/g, '#').slice(0, 160);
  cell.notes.set(short, (cell.notes.get(short) ?? 0) + 1);
  return null;
}

function lastWords(message: string, log: unknown): string {
  const assertion = /GGML_ASSERT[^\n]*|[^\n]*fatal error[^\n]*/.exec(`${message}\n${log ?? ''}`)?.[0];
  return (assertion ?? message).slice(0, 200);
}

/** Of sentences that differ by their numbers only, the one with the shortest history. */
function keep({ examples }: Cell, sentence: string, script: Script): void {
  const kind = sentence.replace(/(\d+@\d+(\.\.)?( of call \d+)? ?)+/g, '@ ').replace(/\d[\d. ]*/g, '#');
  const known = examples.get(kind);
  const n = (known?.n ?? 0) + 1;
  if (known !== undefined && countEvents(known.script) <= countEvents(script)) known.n = n;
  else examples.set(kind, { n, sentence, script });
}

function print(lib: string, { arch, n_layer }: Probed, cell: Cell, seconds: number): void {
  const { histories, rows, wrong, found, deaths, margin, examples, notes } = cell;
  const facts = [
    `${histories} histories`,
    `${rows} readings`,
    `${wrong} wrong`,
    `${found} histories with a finding`,
    `${deaths} deaths`,
    `margin ${margin.toExponential(1)}`,
    `${seconds.toFixed(0)} s`,
  ];
  console.log(`${lib} ${arch} (${n_layer} layers): ${facts.join(', ')}`);
  for (const { n, sentence, script } of [...examples.values()].sort((a, b) => b.n - a.n).slice(0, 6))
    console.log(`  ${n} x ${sentence}\n      ${inShort(script)}`);
  for (const [note, n] of notes) console.log(`  note ${n} x ${note}`);
}

/** A script on one line. */
function inShort({ params, calls }: Script): string {
  const told = calls.map((call) => {
    if (call.op === 'decode') {
      const ids = call.batch.token.map((_, i) => (call.batch.seq_id?.[i] ?? [0]).join('+'));
      return `decode ${ids.join(' ')}${call.refused === undefined ? '' : ` (${call.refused})`}`;
    }
    if (call.op === 'clear') return 'clear';
    if (call.op === 'seqKeep') return `keep ${call.seq}`;
    if (call.op !== 'seqCp' && call.op !== 'seqRm') return call.op;
    const who = call.op === 'seqCp' ? `cp ${call.from}>${call.to}` : `rm ${call.seq}`;
    return `${who} ${call.p0},${call.p1}`;
  });
  return `${JSON.stringify(params)}: ${told.join(' | ')}`.slice(0, 900);
}
