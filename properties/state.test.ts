/**
 * `state` on our engine with states that are made of histories and of token lists: it holds, and each way to get one
 * wrong is seen.
 */
import { describe, expect, it } from 'vitest';
import { IsobatchError } from '../contract/errors.ts';
import type { SubjectContext, SubjectModel } from '../contract/subject.ts';
import { engineSubject } from '../engine/subject.ts';
import { buildRecipe } from '../golden/recipes.ts';
import { oracleWhite } from '../oracle/white.ts';
import { missingClasses } from './coverage.ts';
import { Lists } from './lists.ts';
import { state, tornState } from './state.ts';
import { runCases, shrinkGreedily } from './testing.ts';
import { applyCall } from './trace.ts';
import type { Call, Env } from './types.ts';

const FAULTS = [
  /** The state of the sequence after it. */
  'another sequence',
  /** The last token is not restored. */
  'last token',
  /** The last token is restored as another one. */
  'content',
  /** Loading a sequence empties the one after it. */
  'neighbour',
  /** Loading everything leaves what was there and is not in the state. */
  'stale',
  /** A state that ends too early leaves a token behind. */
  'left behind',
  /** A state that ends too early is taken for what it holds. */
  'accepted',
  /** Everything that is loaded into a new context has one token too few in it. */
  'elsewhere',
] as const;
type Fault = (typeof FAULTS)[number];

const bytesOf = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

/** A context of our engine that keeps its history; the state of everything is that, of one sequence its tokens. */
class KeepingContext implements SubjectContext {
  readonly #ctx: SubjectContext;
  readonly #n: number;
  readonly #fault: Fault | null;
  readonly #lists: Lists;
  #history: Call[] = [];

  constructor(
    ctx: SubjectContext,
    n_seq_max: number,
    memory: 'attention' | 'recurrent',
    fault: Fault | null,
  ) {
    this.#ctx = ctx;
    this.#n = n_seq_max;
    this.#fault = fault;
    this.#lists = new Lists(n_seq_max, memory);
  }

  #do(call: Call) {
    const { op } = call;
    const result =
      op === 'decode'
        ? this.#ctx.decode(call.batch)
        : op === 'seqRm'
          ? this.#ctx.seqRm(call.seq, call.p0, call.p1)
          : op === 'seqCp'
            ? this.#ctx.seqCp(call.from, call.to, call.p0, call.p1)
            : op === 'seqKeep'
              ? this.#ctx.seqKeep(call.seq)
              : this.#ctx.clear();
    applyCall(this.#lists, call);
    this.#history.push(call);
    return result;
  }

  decode: SubjectContext['decode'] = (batch) =>
    this.#do({ op: 'decode', batch }) as ReturnType<SubjectContext['decode']>;
  seqRm: SubjectContext['seqRm'] = (seq, p0, p1) => void this.#do({ op: 'seqRm', seq, p0, p1 });
  seqCp: SubjectContext['seqCp'] = (from, to, p0, p1) => void this.#do({ op: 'seqCp', from, to, p0, p1 });
  seqKeep: SubjectContext['seqKeep'] = (seq) => void this.#do({ op: 'seqKeep', seq });
  clear: SubjectContext['clear'] = () => void this.#do({ op: 'clear' });
  seqPosMin: SubjectContext['seqPosMin'] = (seq) => this.#ctx.seqPosMin(seq);
  seqPosMax: SubjectContext['seqPosMax'] = (seq) => this.#ctx.seqPosMax(seq);
  close: SubjectContext['close'] = () => this.#ctx.close();

  stateGet(seq?: number): Uint8Array {
    if (seq === undefined) return bytesOf(this.#history);
    const next = (seq + 1) % this.#n;
    const wrong = this.#fault === 'another sequence' && this.#lists.length(next) > 0;
    return bytesOf(this.#lists.tokens(wrong ? next : seq));
  }

  stateSet(bytes: Uint8Array, seq?: number): void {
    let kept: unknown;
    try {
      kept = JSON.parse(new TextDecoder().decode(bytes));
    } catch {
      if (this.#fault === 'accepted') return;
      if (this.#fault === 'left behind') this.#append(seq ?? 0, [1]);
      throw new IsobatchError('state', 'the state ends too early');
    }
    if (seq === undefined) this.#setAll(kept as Call[]);
    else this.#setOne(kept as number[], seq);
  }

  #setAll(calls: readonly Call[]): void {
    const fresh = this.#history.length === 0;
    const before = this.#lists.clone();
    this.#do({ op: 'clear' });
    this.#history = [];
    for (const call of calls) this.#do(call);
    if (this.#fault === 'elsewhere' && fresh) {
      const seq = Array.from({ length: this.#n }, (_, s) => s).find((s) => this.#lists.length(s) > 0);
      if (seq !== undefined) this.#setOne(this.#lists.tokens(seq).slice(0, -1), seq);
    }
    if (this.#fault !== 'stale') return;
    for (let s = 0; s < this.#n; s++)
      if (this.#lists.length(s) === 0 && before.length(s) > 0) this.#append(s, [before.tokens(s)[0]!]);
  }

  #setOne(tokens: readonly number[], seq: number): void {
    this.#do({ op: 'seqRm', seq, p0: 0, p1: -1 });
    if (this.#fault === 'neighbour') this.#do({ op: 'seqRm', seq: (seq + 1) % this.#n, p0: 0, p1: -1 });
    const last = tokens.at(-1)!;
    const rest = tokens.slice(0, -1);
    if (this.#fault === 'last token') this.#append(seq, rest);
    else if (this.#fault === 'content') this.#append(seq, [...rest, last === 0 ? 1 : last - 1]);
    else this.#append(seq, tokens);
  }

  #append(seq: number, tokens: readonly number[]): void {
    for (const token of tokens) this.#do({ op: 'decode', batch: { token: [token], seq_id: [[seq]] } });
  }
}

const engine = engineSubject();

function keepingEnv(recipe: 'llama' | 'mamba', fault: Fault | null = null): Env {
  const model = engine.load(buildRecipe(recipe), recipe);
  const memory = recipe === 'llama' ? 'attention' : 'recurrent';
  const loaded: SubjectModel = {
    info: model.info,
    open: (params) =>
      new KeepingContext(model.open(params) as SubjectContext, params.n_seq_max, memory, fault),
    close() {},
  };
  return {
    seed: 'state',
    subject: { ...engine.info, state: true },
    model: model.info,
    modelName: `recipe:${recipe}`,
    loaded,
    oracle: oracleWhite,
    coverage: {},
    restrict: {},
  };
}

describe('state and torn-state', () => {
  it.each([
    ['llama', state],
    ['mamba', state],
    ['llama', tornState],
    ['mamba', tornState],
  ] as const)('on %s holds where states are right, and reaches its classes', async (recipe, property) => {
    const env = keepingEnv(recipe);
    const { failed, compared } = await runCases(property, env, 200);
    expect(failed?.failure?.message).toBeUndefined();
    expect(compared).toBeGreaterThan(10_000);
    expect(
      missingClasses(env.coverage, property, { subject: env.subject, memory: env.model.memory }),
    ).toEqual([]);
  });

  it.each(FAULTS)('sees: %s', async (fault) => {
    const env = keepingEnv('llama', fault);
    const property = fault === 'left behind' || fault === 'accepted' ? tornState : state;
    const { failed } = await runCases(property, env, 120);
    expect(failed?.failure).toBeDefined();
    const small = await shrinkGreedily(property, env, failed!, 250);
    const { calls } = small.failure!.case.script!;
    expect(calls.some(({ op }) => op === 'stateLoad')).toBe(true);
    expect(calls.length).toBeLessThanOrEqual(7);
  });

  it('are skipped where no state is saved', () => {
    const { subject, model } = keepingEnv('llama');
    expect(state.skip(subject, model)).toBeNull();
    expect(state.skip({ ...subject, state: false }, model)).toBe('the subject saves no state');
  });

  it('take no script that loads what was not kept, or a sequence of everything', () => {
    const env = keepingEnv('llama');
    const c = state.generate(env, 0);
    const calls = c.script!.calls.filter(({ op }) => op !== 'stateSave');
    expect(state.rebuild!(env, c, { script: { ...c.script!, calls } })).toBeNull();
    const turned = c.script!.calls.map((call) =>
      call.op === 'stateLoad' ? { ...call, seq: call.seq === undefined ? 0 : undefined } : call,
    );
    expect(state.rebuild!(env, c, { script: { ...c.script!, calls: turned as Call[] } })).toBeNull();
  });
});
