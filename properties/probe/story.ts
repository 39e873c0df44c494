/**
 * What a probe says about a failing history. The history is run again on a tiny model whose logits spell what each
 * query saw (`golden/probes/`), and every query that saw something wrong becomes a sentence: "query 1@0: state holds
 * 0@0 0@1, which it must not; ages 2 1". `1@0` is the token of sequence 1 at position 0.
 *
 * No sentence means: the probe saw nothing wrong. It cannot see roundings, keys that are all seen equally often too
 * often, faults of a second layer, of feed-forward nets or of a shape that only the failing model has, positions and
 * counts of cells in the books of memory, refusals and acceptances that leave memory right, and histories with more
 * tokens than a probe can tell apart.
 *
 * A fault may take the process with it: whoever calls this on an engine under test does it where that may happen.
 */
import type { MemoryKind } from '../../contract/batch.ts';
import type { MaybePromise, SubjectModel } from '../../contract/subject.ts';
import { MAX_DISTANCE } from '../../golden/probes/llama-positions.ts';
import { positionProbe } from '../../golden/probes/registry.ts';
import type { Probe } from '../../golden/probes/types.ts';
import { runScript, type ScriptRun } from '../run-script.ts';
import type { Script } from '../types.ts';
import { candidatesFor, type Probed } from './candidates.ts';
import { type Finding, Judge } from './findings.ts';
import {
  askedAfter,
  countEvents,
  type History,
  historyOf,
  leavesOut,
  type Query,
  relabel,
} from './history.ts';

/** `Subject.load`. */
export type Load = (bytes: Uint8Array, name: string) => MaybePromise<SubjectModel>;

export interface ProbeStory {
  /** At most six, worst first, and one that counts the rest. Empty: nothing wrong was seen, or see `note`. */
  readonly sentences: readonly string[];
  /** Why nothing could be said: no probe fits, the history is too long, or the subject refused it. */
  readonly note?: string;
  /** Rows that were read, over all runs. */
  readonly rows: number;
  /** Rows that were wrong or could not be read. */
  readonly wrong: number;
  /** Distance of the worst element from an integer, by what was read. */
  readonly margins: Readonly<Record<string, number>>;
}

const MOST_SENTENCES = 6;

/** What the probe runs have in common. */
interface Telling {
  readonly load: Load;
  readonly script: Script;
  rows: number;
  wrong: number;
  readonly margins: Record<string, number>;
  note?: string;
  /** Probes that are loaded. */
  readonly models: Map<Probe, SubjectModel>;
}

/**
 * Runs a history on the probes for a model. Rejects only if the subject itself fails to load a probe or
 * throws something that is no answer; see `probeFailure`.
 */
export async function probeStory(load: Load, script: Script, model: Probed): Promise<ProbeStory> {
  const telling: Telling = { load, script, rows: 0, wrong: 0, margins: {}, models: new Map() };
  try {
    const sentences = await tell(telling, model);
    const { rows, wrong, margins, note } = telling;
    return { sentences, rows, wrong, margins, ...(note === undefined ? {} : { note }) };
  } finally {
    for (const loaded of telling.models.values()) await loaded.close();
  }
}

async function tell(telling: Telling, model: Probed): Promise<readonly string[]> {
  const { script } = telling;
  const { memory } = model;
  if (script.params.embeddings === true) {
    telling.note = 'probes spell in logits, and these rows are embeddings';
    return [];
  }
  if (script.calls.some(({ op }) => op === 'encode')) {
    telling.note = 'there is no probe with an encoder';
    return [];
  }
  const n = countEvents(script);
  const candidates = candidatesFor(model);
  if (candidates.length === 0) {
    telling.note = `there is no probe for ${model.arch}`;
    return [];
  }
  const probe = candidates.find(({ n_ids }) => n_ids >= n);
  if (probe === undefined) {
    const most = candidates.at(-1)!.n_ids;
    telling.note = `the history has ${n} tokens, a probe can tell ${most} apart`;
    return [];
  }
  const seen = await runOn(telling, probe, script, historyOf(script, memory, probe.n_ids));
  if (seen.sentences.length > 0) return seen.sentences;
  const placed = probe.reads === 'set' ? await tellPositions(telling, n) : [];
  return placed.length > 0 ? placed : await askAfter(telling, probe, memory, seen.n_calls);
}

async function tellPositions(telling: Telling, n: number): Promise<readonly string[]> {
  const { script } = telling;
  // Positions are read as they were when a token was evaluated, so moved ones tell nothing.
  if (n > positionProbe.n_ids || script.calls.some(isMove)) return [];
  const history = historyOf(script, 'attention', positionProbe.n_ids);
  if (reach(history) > MAX_DISTANCE) return [];
  return (await runOn(telling, positionProbe, script, history)).sentences;
}

function isMove({ op }: Script['calls'][number]): boolean {
  return op === 'seqAdd' || op === 'seqDiv';
}

/** Largest distance between a query and a key that it must see. */
function reach({ queries, events }: History): number {
  let most = 0;
  for (const query of queries.flatMap((some) => some ?? []))
    most = Math.max(most, query.event.pos - events[query.sees[0]!]!.pos);
  return most;
}

/**
 * Every token as an output; if that shows nothing, the outputs of the script, because some faults need rows to be left
 * out.
 */
async function runOn(telling: Telling, probe: Probe, script: Script, history: History): Promise<Told> {
  const all = await runOnce(telling, probe, script, history, 'all');
  if (all.sentences.length > 0 || all.ended || !leavesOut(script)) return all;
  return await runOnce(telling, probe, script, history, 'own');
}

async function modelOf({ models, load }: Telling, probe: Probe): Promise<SubjectModel> {
  const model = models.get(probe) ?? (await load(probe.build(), `probe:${probe.name}`));
  models.set(probe, model);
  return model;
}

/**
 * What no query of the script sees can still be in memory, and be the reason for a refusal or a wrong position: one
 * token more in every sequence, after the call that ended the run or after the last one, shows what is there.
 */
async function askAfter(
  telling: Telling,
  probe: Probe,
  memory: MemoryKind,
  n_calls: number,
): Promise<readonly string[]> {
  const script = askedAfter(telling.script, n_calls);
  if (n_calls === 0 || countEvents(script) > probe.n_ids) return [];
  const history = historyOf(script, memory, probe.n_ids, n_calls);
  const { sentences } = await runOn(telling, probe, script, history);
  return sentences.map((sentence) => `asked after call ${n_calls - 1}: ${sentence}`);
}

interface Told {
  readonly sentences: string[];
  /** The subject did something against the script, and the run ended before its time. */
  readonly ended: boolean;
  /** Calls that were done. */
  readonly n_calls: number;
}

async function runOnce(
  telling: Telling,
  probe: Probe,
  script: Script,
  history: History,
  outputs: 'all' | 'own',
): Promise<Told> {
  const model = await modelOf(telling, probe);
  const run = await runScript(model, relabel(script, history, probe.token, outputs));
  const judge = new Judge(history, probe.reads === 'window' ? probe.window : undefined);
  const sentences = sentencesOf(readRows(telling, probe, history, judge, run), judge);
  const n_calls = run.rows.length;
  if (run.unexpected === null) return { sentences, ended: false, n_calls };
  const { kind, what, got } = run.unexpected;
  telling.note ??= `the probe's run ended at ${what}: got ${got}`;
  if (kind === 'not-finite' && sentences.length === 0)
    sentences.push(`on the probe, too, ${what} are not finite (${got})`);
  return { sentences, ended: true, n_calls };
}

function readRows(telling: Telling, probe: Probe, history: History, judge: Judge, run: ScriptRun): Finding[] {
  const findings: Finding[] = [];
  const faults = new Map<Query, string>();
  run.rows.forEach((answer, c) => {
    const queries = history.queries[c];
    if (answer === null || queries == null) return;
    const logits = new Float32Array(answer.bits.buffer);
    for (const query of queries) {
      const row = answer.row[query.event.index]!;
      if (row < 0) continue;
      const reading = probe.read(logits.subarray(row * probe.n_vocab, (row + 1) * probe.n_vocab));
      telling.rows++;
      if (reading.kind !== 'unreadable')
        telling.margins[reading.kind] = Math.max(telling.margins[reading.kind] ?? 0, reading.margin);
      const found = judge.judge(query, reading);
      if (found === null) continue;
      telling.wrong++;
      const { severity, text, fault, blank = false } = found;
      const inherited = fault !== '' && query.before !== null && faults.get(query.before) === fault;
      faults.set(query, fault);
      findings.push({ query, severity, inherited, blank, text });
    }
  });
  return findings;
}

/**
 * The first wrong call first: what follows is mostly its consequence. Inherited faults are only counted, and blank
 * rows of a call are one sentence.
 */
function sentencesOf(findings: readonly Finding[], judge: Judge): string[] {
  const own = findings
    .filter(({ inherited }) => !inherited)
    .sort(
      (a, b) =>
        a.query.event.call - b.query.event.call ||
        a.severity - b.severity ||
        a.query.event.index - b.query.event.index,
    );
  const told: string[] = [];
  let rest = findings.length;
  for (const { query, blank, text } of own) {
    if (told.length === MOST_SENTENCES) break;
    const group = blank ? blankOf(own, query.event.call) : [query];
    // The first of a group speaks for it.
    if (group[0] !== query) continue;
    told.push(blank ? judge.blankRows(group) : text);
    rest -= group.length;
  }
  if (rest > 0) told.push(`and ${rest} more ${rest === 1 ? 'query' : 'queries'}`);
  return told;
}

function blankOf(findings: readonly Finding[], call: number): Query[] {
  return findings.filter(({ blank, query }) => blank && query.event.call === call).map(({ query }) => query);
}
