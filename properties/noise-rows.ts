/**
 * Standard deviations of a subject's answers, measured on the subject itself: copies of the model with noise on their
 * weights (`noise.ts`) answer the same list, and each logit's spread over them stands for what rounding can do to it.
 * It is what bounds are made of where the oracle has no forward pass. As verdicts.md 5 says for 16 runs: the larger of
 * the logit's own spread and that of its row, divided by 0.6, the smallest share that 16 runs have shown of many.
 *
 * Paths of the campaign's token tree are run once, and only deviations are kept.
 */
import { readFileSync } from 'node:fs';
import { IsobatchError } from '../contract/errors.ts';
import { type ContextParams, type ModelInfo, rowWidth } from '../contract/subject.ts';
import { readGguf } from '../model/gguf.ts';
import { boundsBy, fileOf } from './bounds-by.ts';
import { modelBytes } from './campaign-models.ts';
import { type Numerics, numericsOf } from './choices.ts';
import { factsOf } from './facts.ts';
import type { HalfPlaces } from './noise.ts';
import { type Copies, FileCopies, KeptCopies, type NoiseKind } from './noise-copies.ts';
import { rowKey } from './oracle-rows.ts';
import { helperError, runScript } from './run-script.ts';
import { isLarge, MOST_PARAMS } from './sample.ts';
import { longestOf } from './token-tree.ts';
import { trace } from './trace.ts';
import type { Call, Env, Script } from './types.ts';

/** Copies of a model that are run. */
export const N_COPIES = 16;
/** Smallest share of the true deviation that 16 runs have shown (spec: verdicts.md 2). */
const SHORTEST = 0.6;
/**
 * Noise of float32 roundings is made so much larger and its effect divided: a weight moved by half a unit in its last
 * place would not move at all. Errors stay in first order.
 */
const AMPLIFY = 2 ** 10;
/**
 * Spreads of noise 64 times smaller, scaled back, are the same within 2 % where all is float32, and five times larger
 * where a table of F16 is looked up (measured on eleven architectures).
 */
const COARSE = 1.5;
/** Copies for a question of orders of magnitude. */
const FEW = 4;
/** Limits of what is run and kept at once. */
interface Most {
  /** Paths of the tree that are run in one context, fewer where their logits are more than this. */
  readonly paths: number;
  readonly logits: number;
  /** Numbers that are kept; then all are forgotten. */
  readonly kept: number;
}

const IN_MEMORY: Most = { paths: 4, logits: 2 ** 20, kept: 2 ** 23 };
/** To load a copy costs more than to run it, so all paths are run at once, and kept (`sample.ts` has few). */
const ON_DISK: Most = { paths: Number.POSITIVE_INFINITY, logits: 2 ** 24, kept: 2 ** 25 };

/** Deviations of one row. */
export interface Spread {
  /** A standard deviation for each number of the row, made longer by what 16 runs may miss. */
  readonly sigma: Float64Array;
  /** The noise was too large for first order. */
  readonly ill: boolean;
}

/** The spreads of one model. */
export class NoiseRows {
  readonly #env: Env;
  readonly #copies: Copies;
  readonly #most: Most;
  readonly #rows = new Map<string, Spread>();
  #kept = 0;
  #coarse: Promise<boolean> | undefined;

  constructor(env: Env, copies: Copies, most: Most = IN_MEMORY) {
    this.#env = env;
    this.#copies = copies;
    this.#most = most;
  }

  /** Measures every list of the token tree, and gives back what the copies take. */
  async prepare(numerics: Numerics, tell: (what: string) => void): Promise<void> {
    this.#tell = tell;
    try {
      for (const path of factsOf(this.#env).tree.paths) await this.plain(path, numerics);
    } finally {
      this.#tell = undefined;
      this.#copies.release();
    }
  }

  #tell: ((what: string) => void) | undefined;

  /** What the last row of `tokens` alone may differ by: a standard deviation for each number. */
  async sigma(tokens: readonly number[], numerics: Numerics): Promise<Float64Array> {
    return (await this.plain(tokens, numerics)).sigma;
  }

  /** The same with what else is known of the row. */
  async plain(tokens: readonly number[], numerics: Numerics): Promise<Spread> {
    const key = keyOf(tokens, numerics);
    return this.#rows.get(key) ?? (await this.#run(this.#listsFrom(tokens, numerics), numerics)).get(key)!;
  }

  /** Whether the last row of a list was measured. */
  knows(tokens: readonly number[], numerics: Numerics): boolean {
    return this.#rows.has(keyOf(tokens, numerics));
  }

  /**
   * Measures the last rows of many lists that `plain` will be asked for, with all their beginnings. `brief`: nothing
   * else; otherwise a list of the campaign's token tree brings its path along.
   */
  async measure(lists: readonly (readonly number[])[], numerics: Numerics, brief: boolean): Promise<void> {
    const rest: (readonly number[])[] = [];
    for (const list of longestOf(lists.filter((tokens) => !this.#rows.has(keyOf(tokens, numerics))))) {
      if (brief || this.#pathOf(list) < 0) rest.push(list);
      else await this.plain(list, numerics);
    }
    for (const group of this.#groups(rest, rowWidth(this.#env.model, numerics)))
      await this.#run(group, numerics);
  }

  /** Lists whose logits fit together. */
  #groups(lists: readonly (readonly number[])[], width: number): (readonly number[])[][] {
    const groups: (readonly number[])[][] = [];
    let room = 0;
    for (const list of lists) {
      const size = list.length * width;
      if (groups.length === 0 || size > room) {
        groups.push([]);
        room = this.#most.logits;
      }
      groups.at(-1)!.push(list);
      room -= size;
    }
    return groups;
  }

  /** Rows [call, batch index] of a script that are no plain lists: the copies run the script itself. */
  bent(script: Script, rows: readonly (readonly [number, number])[]): Promise<Spread[]> {
    return this.#spread(script, rows);
  }

  /** Runs lists alone and keeps every row of them. */
  async #run(lists: readonly (readonly number[])[], numerics: Numerics): Promise<Map<string, Spread>> {
    const script = this.#alone(lists, numerics);
    const decodes = script.calls.flatMap(({ op }, call) => (op === 'decode' ? [call] : []));
    const rows = lists.flatMap((list, k) => list.map((_, i) => [decodes[k]!, i] as const));
    const spread = await this.#spread(script, rows);
    const keys = lists.flatMap((list) => list.map((_, i) => keyOf(list.slice(0, i + 1), numerics)));
    const found = new Map(keys.map((key, at) => [key, spread[at]!]));
    this.#keep(found);
    return found;
  }

  /** Number of the path of the tree that goes on from `tokens`, or -1. */
  #pathOf(tokens: readonly number[]): number {
    return factsOf(this.#env).tree.paths.findIndex((p) => tokens.every((token, i) => p[i] === token));
  }

  /** Opening a context costs as much as a path, so paths that will be asked for too are run with it. */
  #listsFrom(tokens: readonly number[], numerics: Numerics): (readonly number[])[] {
    const { paths } = factsOf(this.#env).tree;
    const first = this.#pathOf(tokens);
    if (first < 0) return [tokens];
    const later = paths.slice(first + 1).filter((path) => !this.#rows.has(keyOf(path, numerics)));
    const path = paths[first]!;
    const fits = Math.floor(this.#most.logits / (path.length * rowWidth(this.#env.model, numerics)));
    return [path, ...later.slice(0, Math.max(0, Math.min(this.#most.paths, fits) - 1))];
  }

  #keep(found: ReadonlyMap<string, Spread>): void {
    let size = 0;
    for (const { sigma } of found.values()) size += sigma.length;
    if (this.#kept + size > this.#most.kept) {
      this.#rows.clear();
      this.#kept = 0;
    }
    for (const [key, spread] of found) this.#rows.set(key, spread);
    this.#kept += size;
  }

  /** Each list alone in an empty context, in one call. */
  #alone(lists: readonly (readonly number[])[], numerics: Numerics): Script {
    const { subject, model } = this.#env;
    const n = Math.max(...lists.map((list) => list.length));
    const params: ContextParams = {
      n_ctx: n,
      n_batch: n,
      n_ubatch: n,
      n_seq_max: 1,
      split: subject.splits[model.memory]?.[0] ?? 'equal',
      type_kv: numerics.type_kv,
      flash_attn: numerics.flash_attn,
      ...(numerics.embeddings ? { embeddings: true } : {}),
    };
    // A decoder answers nothing before something was encoded.
    const source: Call[] =
      model.encoder === 'with decoder' ? [{ op: 'encode', batch: { token: lists[0]!.slice(0, n) } }] : [];
    const decodes = lists.flatMap((list): Call[] => [
      { op: 'decode', batch: { token: [...list], logits: list.map(() => true) } },
      { op: 'clear' },
    ]);
    return { params, calls: [...source, ...decodes] };
  }

  async #spread(script: Script, rows: readonly (readonly [number, number])[]): Promise<Spread[]> {
    return this.#over(await this.#noiseFor(script.params), N_COPIES, script, rows);
  }

  /** The spread of rows of a script over the first n copies. */
  async #over(
    noise: NoiseKind,
    n: number,
    script: Script,
    rows: readonly (readonly [call: number, index: number])[],
  ): Promise<Spread[]> {
    const width = rowWidth(this.#env.model, script.params);
    const sums = rows.map(() => new Sums(width));
    await this.#copies.each(noise, n, async (model, number) => {
      this.#tell?.(`bounds, copy ${number + 1} of ${n}`);
      const run = await runScript(model, script);
      if (run.unexpected !== null)
        throw helperError('a copy of the model with noise on its weights', run.unexpected);
      rows.forEach(([call, index], k) => {
        const { row, bits } = run.rows[call]!;
        sums[k]!.add(new Float32Array(bits.buffer), row[index]! * width);
      });
    });
    return sums.map((sum) => sum.spread(noise.amplify));
  }

  async #noiseFor(numerics: Numerics): Promise<NoiseKind> {
    this.#coarse ??= this.#roundsCoarsely();
    const attention = this.#halfAttention(numerics);
    const sums = attention && numerics.flash_attn === true;
    const activation = (await this.#coarse) ? this.#coarsePlace() : 'none';
    const half: HalfPlaces = { attention, sums, activation };
    const amplify = attention || activation !== 'none' || this.#copies.coarse ? 1 : AMPLIFY;
    return { amplify, half };
  }

  /** A table of GELU is the coarse rounding that is known; without a feed-forward part it may be any. */
  #coarsePlace(): HalfPlaces['activation'] {
    return this.#copies.hasFeedForward ? 'feed-forward' : 'anywhere';
  }

  #halfAttention({ type_kv, flash_attn }: Numerics): boolean {
    return this.#env.model.memory !== 'recurrent' && (type_kv === 'F16' || flash_attn === true);
  }

  /**
   * Whether the subject rounds something to less than float32 that nobody told us of, such as a table of GELU: then
   * the spread does not shrink with the noise.
   */
  async #roundsCoarsely(): Promise<boolean> {
    const { types_kv } = this.#env.subject;
    const embeddings = this.#env.model.encoder === 'only';
    const plain: Numerics = { type_kv: types_kv[0] ?? 'F32', flash_attn: false, embeddings };
    // Only F16 K and V: what else is coarse cannot be told apart.
    if (this.#halfAttention(plain) || this.#copies.coarse) return true;
    const { tree } = factsOf(this.#env);
    const list = tree.paths[0]!.slice(0, 16);
    const script = this.#alone([list], plain);
    const half: HalfPlaces = { attention: false, sums: false, activation: 'none' };
    const first = script.calls.findIndex(({ op }) => op === 'decode');
    const last = [[first, list.length - 1]] as const;
    const sizes: number[] = [];
    for (const amplify of [AMPLIFY, AMPLIFY / 64]) {
      const [row] = await this.#over({ amplify, half }, FEW, script, last);
      sizes.push(rms(row!.sigma));
    }
    return sizes[1]! > COARSE * sizes[0]!;
  }
}

/** Mean and squared deviations, one answer after the other (Welford). */
class Sums {
  readonly #mean: Float64Array;
  readonly #squares: Float64Array;
  #n = 0;

  constructor(width: number) {
    this.#mean = new Float64Array(width);
    this.#squares = new Float64Array(width);
  }

  add(logits: Float32Array, at: number): void {
    this.#n++;
    for (let j = 0; j < this.#mean.length; j++) {
      const off = logits[at + j]! - this.#mean[j]!;
      this.#mean[j] = this.#mean[j]! + off / this.#n;
      this.#squares[j] = this.#squares[j]! + off * (logits[at + j]! - this.#mean[j]!);
    }
  }

  spread(amplify: number): Spread {
    const sigma = this.#squares.map((s) => Math.sqrt(s / (this.#n - 1)));
    const row = rms(sigma);
    const mean = this.#mean.reduce((sum, x) => sum + x, 0) / sigma.length;
    const size = rms(this.#mean.map((x) => x - mean));
    return {
      sigma: sigma.map((s) => Math.max(s, row) / (amplify * SHORTEST)),
      ill: !(row <= size / 10),
    };
  }
}

function rms(values: Float64Array): number {
  let squares = 0;
  for (const x of values) squares += x * x;
  return Math.sqrt(squares / values.length);
}

function keyOf(tokens: readonly number[], numerics: Numerics): string {
  return `${numericsOf(numerics)} ${tokens.join()}`;
}

/** Why no copies of a model can be made, or null. */
export function uncopied(model: ModelInfo): string | null {
  if (model.n_params <= MOST_PARAMS) return null;
  return `${model.n_params} parameters are too many to measure bounds on copies of the model (at most ${MOST_PARAMS})`;
}

/** By call and batch index, as `oracleRowsOf`: spreads of the rows of a script. `brief`: see `NoiseRows.measure`. */
export async function noiseRowsOf(
  env: Env,
  script: Script,
  rows: readonly (readonly [call: number, index: number])[],
  brief = false,
): Promise<Map<string, Spread>> {
  const noise = noiseFor(env);
  const { calls } = trace(script, env.model.memory);
  const plain = new Map<string, readonly number[]>();
  const bent: (readonly [number, number])[] = [];
  for (const [call, index] of rows) {
    const { seen } = calls[call]!.tokens[index]!;
    if (seen === null) bent.push([call, index]);
    else plain.set(rowKey(call, index), seen);
  }
  await noise.measure([...plain.values()], script.params, brief);
  const out = new Map<string, Spread>();
  for (const [key, seen] of plain) out.set(key, await noise.plain(seen, script.params));
  if (bent.length === 0) return out;
  const spreads = await noise.bent(script, bent);
  bent.forEach(([call, index], i) => {
    out.set(rowKey(call, index), spreads[i]!);
  });
  return out;
}

const known = new WeakMap<object, Map<string, NoiseRows>>();

/** The spreads of a loaded model; shared by all properties that run on it. */
export function noiseFor(env: Env): NoiseRows {
  if (env.load === undefined) throw new RangeError(`no copies of ${env.modelName} can be made`);
  let bySeed = known.get(env.loaded);
  if (bySeed === undefined) {
    bySeed = new Map();
    known.set(env.loaded, bySeed);
  }
  let rows = bySeed.get(env.seed);
  if (rows === undefined) {
    rows = rowsOf(env);
    bySeed.set(env.seed, rows);
  }
  return rows;
}

/** Throws `gguf` or `model` where no copies can be made. */
function rowsOf(env: Env): NoiseRows {
  const { modelName } = env;
  const load = env.load!;
  if (boundsBy(env) !== 'norms')
    return new NoiseRows(env, new KeptCopies(readGguf(modelBytes(modelName), modelName), modelName, load));
  const path = fileOf(env);
  if (path === undefined) throw new IsobatchError('model', `${modelName} is no file that could be copied`);
  const halves = env.subject.rounding?.f16_activations !== 'F32';
  const loadFile = env.loadFile ?? ((file: string, name: string) => load(readFileSync(file), name));
  return new NoiseRows(env, new FileCopies(path, modelName, loadFile, halves), ON_DISK);
}

/**
 * Measures what the bounds of a large model are made of, before any case runs; nothing for other models. `tell` is
 * called before each step.
 */
export async function prepareBounds(env: Env, tell: (what: string) => void): Promise<void> {
  if (env.subject.bit_invariant || env.subject.rounding === undefined || !isLarge(env.model)) return;
  const [type_kv] = factsOf(env).types_kv;
  try {
    await noiseFor(env).prepare({ type_kv }, tell);
  } catch (error) {
    // Each case says that there are no bounds, and why.
    if (!(error instanceof IsobatchError) || (error.kind !== 'gguf' && error.kind !== 'model')) throw error;
  }
}
