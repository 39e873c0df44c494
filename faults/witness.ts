/**
 * Checks what is said of a planted fault (`planted.ts`) by running scripts in a process that has it, and in one that
 * has not: everything that the contract shows (rows, positions, refusals) becomes one number a script. Scripts come
 * from the generators of the properties and are cut so that they lack what the fault is said to need.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { factsOf } from '../properties/facts.ts';
import { drawParams } from '../properties/generate/params.ts';
import { caseRandom } from '../properties/random.ts';
import { runScript, type ScriptRun } from '../properties/run-script.ts';
import { idsOf } from '../properties/trace.ts';
import type { Call, Env, Script } from '../properties/types.ts';
import { WorkerState } from '../properties/worker-env.ts';
import type { PlantedFault } from './planted.ts';

/** The build is what runs, also when this runs from the sources. */
const MAIN = fileURLToPath(
  new URL(
    import.meta.url.endsWith('.ts') ? '../dist/faults/witness-main.js' : 'witness-main.js',
    import.meta.url,
  ),
);

/** Kinds of scripts. */
export type Kind =
  | 'token by token'
  | 'one ubatch'
  | 'one decode'
  | 'nothing shared'
  | 'nothing reused'
  | 'anything';

/** Of mamba2 the one whose states are more than one vector. */
export const MODELS: readonly string[] = [
  'recipe:llama',
  'recipe:mamba',
  'recipe:mamba2-1g',
  'recipe:rwkv6-fuzz',
  'recipe:rwkv7-fuzz',
];
/** Whose histories are taken; the order is that of the scripts. */
export const SOURCES: readonly string[] = ['solo', 'share', 'operations', 'reuse', 'atomic', 'placement'];

/** What `n` scripts of a kind from each source give on each model, with the engine of this process. */
export async function witness(
  kind: Kind,
  seed: string,
  n: number,
  models: readonly string[] = MODELS,
): Promise<string[]> {
  const state = new WorkerState({ subject: { kind: 'engine' }, seed, restrict: {}, call_timeout_s: 10 });
  const found: string[] = [];
  for (const model of models) {
    for (const source of SOURCES) {
      const property = await state.property(source);
      const env = await state.env(property, model);
      for (let i = 0; i < n; i++) {
        const alone = kind === 'one ubatch' || kind === 'token by token';
        const script = alone
          ? oneSequence(env, source, i, kind)
          : cut(kind, property.generate(env, i).script!);
        found.push(await numberOf(env, script));
      }
    }
  }
  return found;
}

function cut(kind: Kind, script: Script): Script {
  if (kind === 'one decode') return oneDecode(script);
  if (kind === 'nothing shared') return until(script, shares);
  return kind === 'nothing reused' ? until(script, frees) : script;
}

/** One sequence, new context, all in one ubatch, or every token in its own. */
function oneSequence(env: Env, source: string, index: number, kind: Kind): Script {
  const facts = factsOf(env);
  const r = caseRandom(env.seed, `witness/${source}`, facts.family, index);
  const path = r.pick(facts.tree.paths);
  const token = path.slice(0, r.between(1, path.length));
  const n_seq_max = r.between(1, 4);
  const seq = r.below(n_seq_max);
  const logits = token.map(() => r.chance(0.6));
  const calls: Call[] = [{ op: 'decode', batch: { token, seq_id: token.map(() => [seq]), logits } }];
  const { n_rs_seq: offered = [0] } = facts.choices;
  const params = drawParams(r, facts, calls, token.length, { n_seq_max, n_rs_seq: r.pick(offered) });
  const { n_keep_tail: _, ...plain } = params;
  const n_batch = token.length;
  if (kind === 'token by token')
    return { params: { ...plain, n_batch, n_ubatch: 1, split: 'simple' }, calls };
  return { params: { ...plain, n_ubatch: n_batch, n_batch }, calls };
}

function oneDecode({ params, calls }: Script): Script {
  return {
    params,
    calls: calls.filter((call) => call.op === 'decode' && call.refused === undefined).slice(0, 1),
  };
}

/** The calls before the first one of that kind. */
function until({ params, calls }: Script, is: (call: Call) => boolean): Script {
  const at = calls.findIndex(is);
  return { params, calls: at < 0 ? calls : calls.slice(0, at) };
}

function shares(call: Call): boolean {
  if (call.op === 'seqCp') return call.refused === undefined;
  if (call.op !== 'decode') return false;
  return call.batch.token.some((_, i) => (idsOf(call.batch, i) ?? []).length > 1);
}

function frees(call: Call): boolean {
  if (call.op === 'clear') return true;
  return (call.op === 'seqRm' || call.op === 'seqKeep') && call.refused === undefined;
}

/** All that the contract shows of a script, as one number. */
async function numberOf(env: Env, script: Script): Promise<string> {
  const ask: [number, number][] = script.calls.flatMap((_, c) =>
    Array.from({ length: script.params.n_seq_max }, (_, seq): [number, number] => [c, seq]),
  );
  const run: ScriptRun = await runScript(env.loaded, script, ask);
  const hash = createHash('sha256');
  for (const rows of run.rows) if (rows !== null) hash.update(rows.bits).update(rows.row);
  hash.update(JSON.stringify([run.positions, run.refusals, run.unexpected?.kind ?? '']));
  return hash.digest('hex').slice(0, 16);
}

/** What must be so, by what is said of a fault: kinds of scripts that must not show it, and one that must. */
export function claimsOf(fault: PlantedFault): { readonly hidden: readonly Kind[]; readonly seen?: Kind } {
  if (fault.shows === 'one ubatch') return { hidden: ['token by token'], seen: 'one ubatch' };
  const hidden: Kind[] = fault.alone ? [] : ['one ubatch'];
  if (fault.needs === 'shared tokens') hidden.push('nothing shared');
  if (fault.needs === 'reused slot') hidden.push('nothing reused');
  if (fault.shows === 'second call') hidden.push('one decode');
  if (fault.rulesOnly) return { hidden: [...hidden, 'anything'] };
  return { hidden, seen: fault.shows === 'second call' ? 'anything' : 'one decode' };
}

/**
 * Runs scripts of these kinds in a process of their own, on `model` or on the fuzz recipes. A kind that it did not live
 * to finish is missing.
 */
export function witnessed(
  kinds: readonly Kind[],
  seed: string,
  n: number,
  { fault = '', model = '' }: { readonly fault?: string; readonly model?: string } = {},
): Map<Kind, readonly string[]> {
  const args = [MAIN, seed, String(n), fault, model, ...kinds];
  const { stdout } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    timeout: 300_000,
  });
  const lines = stdout.split('\n').slice(0, -1);
  return new Map(lines.map((line, k) => [kinds[k]!, JSON.parse(line) as string[]]));
}
