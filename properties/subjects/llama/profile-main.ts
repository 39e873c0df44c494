/**
 * Shows that the profile of a build is right: what is measured, and how much of the derived bounds its answers use, by
 * model, flash attention, type of K and V, and n_ubatch. The library lives in this process, one build a run.
 *
 *     node dist/properties/subjects/llama/profile-main.js v0.5.0 [CASES] [PART OF MODEL NAME] [MOST SEQUENCES]
 *
 * Prints the profile, then a line a cell: cases, elements, median and largest |difference| / bound, rows that needed
 * keyed runs, elements beyond. Ends with 1 if there are any.
 */
import type { Subject } from '../../../contract/subject.ts';
import { oracleWhite } from '../../../oracle/white.ts';
import { BoundedRows } from '../../bounded.ts';
import { modelBytes } from '../../campaign-models.ts';
import { oracleFor, oracleRowsOf } from '../../oracle-rows.ts';
import { caseRandom, type Random } from '../../random.ts';
import { runScript } from '../../run-script.ts';
import type { Call, Env, Script } from '../../types.ts';
import { addBounds, emptyBounds, emptyUse, useQuantile } from '../../verdict.ts';
import { resolveLib } from './fetch.ts';
import { Library } from './library.ts';
import { measureProfile } from './profile.ts';
import { drives, eraOf } from './releases.ts';
import { llamaSubject } from './subject.ts';

const MODELS = [
  'recipe:llama-loadable',
  'recipe:llama-loadable-f16',
  'recipe:mamba-loadable',
  'recipe:mamba-loadable-f16',
  'golden:tiny-llama',
  'golden:tiny-mamba',
];
const UBATCHES = [1, 7, 64] as const;
const MOST_TOKENS = 64;

/** A few sequences whose tokens come mixed, in one to three calls; from all tokens, 16 or only 2 of them. */
function drawCalls(r: Random, n_vocab: number, most_seqs: number): Call[] {
  const n_seqs = r.between(1, most_seqs);
  const size = r.pick([Math.min(256, n_vocab - 3), 16, 2]);
  const next = new Array<number>(n_seqs).fill(0);
  const n_calls = r.between(1, 3);
  const left = r.between(12, MOST_TOKENS);
  return Array.from({ length: n_calls }, (): Call => {
    const n = Math.ceil(left / n_calls);
    const seqs = Array.from({ length: n }, () => r.below(n_seqs));
    const token = seqs.map(() => 3 + r.below(size));
    const pos = seqs.map((seq) => next[seq]!++);
    const seq_id = seqs.map((seq) => [seq]);
    return { op: 'decode', batch: { token, pos, seq_id, logits: seqs.map(() => r.chance(0.3)) } };
  });
}

/** Whole sequences are computed first: all their beginnings come with them. */
function computeSequences(env: Env, { params, calls }: Script): void {
  const lists = new Map<number, number[]>();
  for (const call of calls) {
    if (call.op !== 'decode') continue;
    const { token, seq_id } = call.batch;
    token.forEach((one, i) => {
      const [seq = 0] = seq_id?.[i] ?? [];
      lists.set(seq, [...(lists.get(seq) ?? []), one]);
    });
  }
  for (const list of lists.values()) oracleFor(env, params).plain(list, params.type_kv ?? 'F32');
}

interface Cell {
  readonly type_kv: 'F32' | 'F16';
  readonly flash_attn: boolean;
  readonly n_ubatch: number;
}

async function runCell(env: Env, cell: Cell, cases: number) {
  const bounds = emptyBounds();
  let divergent = 0;
  for (let index = 0; index < cases; index++) {
    // The same histories for every cell of a model, so that the oracle's rows are found again.
    const r = caseRandom(env.seed, 'profile', env.modelName, index);
    const n_seq_max = Number(most_seqs);
    const sizes = { n_ctx: 96, n_batch: 64, n_seq_max, split: 'simple' } as const;
    const script: Script = {
      params: { ...sizes, ...cell },
      calls: drawCalls(r, env.model.n_vocab, n_seq_max),
    };
    const run = await runScript(env.loaded, script);
    if (run.unexpected !== null)
      throw new Error(`case ${index}: ${run.unexpected.what}: ${run.unexpected.got}`);
    computeSequences(env, script);
    const judged = new BoundedRows(env, script.params);
    for (const [key, row] of oracleRowsOf(env, script)) {
      const [call, token] = key.split('/').map(Number) as [number, number];
      const answer = run.rows[call]!;
      const got = new Float32Array(answer.bits.buffer);
      const at = answer.row[token]! * env.model.n_vocab;
      const verdict = judged.judge({ got, at, want: row.carried.v, wantAt: 0, routes: 1 }, row);
      divergent += verdict.divergent;
      if (verdict.miss !== null) console.log(`  case ${index}, ${key}: ${JSON.stringify(verdict.miss)}`);
    }
    addBounds(bounds, judged.tally);
  }
  return { use: bounds.use[env.modelName] ?? emptyUse(), bounds, divergent };
}

async function runModel(subject: Subject, modelName: string, cells: readonly Cell[], cases: number) {
  const loaded = await subject.load(modelBytes(modelName), modelName);
  const env: Env = {
    seed: 'profile',
    subject: subject.info,
    model: loaded.info,
    modelName,
    loaded,
    oracle: oracleWhite,
    coverage: {},
    restrict: {},
  };
  let beyond = 0;
  for (const cell of cells) {
    if (loaded.info.memory === 'recurrent' && (cell.flash_attn || cell.type_kv !== subject.info.types_kv[0]))
      continue;
    const { use, bounds, divergent } = await runCell(env, cell, cases);
    beyond += divergent;
    const { flash_attn, type_kv, n_ubatch } = cell;
    const what = `${modelName} ${flash_attn ? 'flash' : 'plain'} ${type_kv} n_ubatch ${n_ubatch}`;
    const [median, most] = [useQuantile(use, 0.5).toPrecision(2), use.max.toPrecision(2)];
    console.log(
      `${what}: ${cases} cases, ${use.n} elements, median ${median}, largest ${most}, keyed ${bounds.escalated}, ill ${bounds.ill}, beyond ${divergent}`,
    );
  }
  await loaded.close();
  return beyond;
}

const [lib, cases = '100', only = '', most_seqs = '3'] = process.argv.slice(2);
if (lib === undefined)
  throw new RangeError('usage: profile-main.js RELEASE [CASES] [MODEL] [MOST SEQUENCES]');
const library = new Library(await resolveLib(lib));
const flash_f32 = drives(eraOf(library), 'flash_f32');
const before = performance.now();
const measured = await measureProfile(llamaSubject(library), { flash_f32 });
console.log(`${lib}: measured in ${(performance.now() - before).toFixed(0)} ms`);
for (const [name, profile] of Object.entries(measured)) console.log(`  ${name}: ${JSON.stringify(profile)}`);
const subject = llamaSubject(library, measured);
const { types_kv, choices } = subject.info;
const cells: Cell[] = (choices?.flash_attn ?? [false]).flatMap((flash_attn) =>
  types_kv
    .filter((type_kv) => !flash_attn || flash_f32 || type_kv === 'F16')
    .flatMap((type_kv) => UBATCHES.map((n_ubatch) => ({ type_kv, flash_attn, n_ubatch }))),
);
let beyond = 0;
for (const model of MODELS.filter((name) => name.includes(only)))
  beyond += await runModel(subject, model, cells, Number(cases));
process.exit(beyond > 0 ? 1 : 0);
