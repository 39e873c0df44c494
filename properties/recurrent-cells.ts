/**
 * `recurrent-cells`: after every call of a history, the cells of recurrent memory as they lie in the subject, where it
 * shows them (`SubjectContext.cells`): each live sequence is in one cell, counts agree, the states of an ubatch come
 * from where they must, and bystanders keep theirs (`recurrent-books.ts`). Our own engine shows its slots to the
 * white-box property `slots`, which says more; this one is for subjects in other processes.
 */
import type { Batch } from '../contract/batch.ts';
import { IsobatchError } from '../contract/errors.ts';
import type { ContextParams } from '../contract/subject.ts';
import { failureOf } from './compare.ts';
import { coverScript, note, sizeClass } from './coverage.ts';
import { endToEnd } from './end-to-end.ts';
import { type EvenDraft, isAtOnce, newEvenDraft } from './generate/even.ts';
import { fill, scriptOf } from './generate/history.ts';
import { operate } from './generate/operations.ts';
import { contextsAreLegal, drawState } from './generate/state.ts';
import { Lists } from './lists.ts';
import { RecurrentBooks, type Touched } from './recurrent-books.ts';
import { runScript, surprise, type Unexpected } from './run-script.ts';
import { changed } from './shrink-params.ts';
import { skipped } from './skipped.ts';
import { applyCall, idsOf, trace } from './trace.ts';
import type { Call, Case, Env, Outcome, Property, Script } from './types.ts';

const frame = endToEnd({
  name: 'recurrent-cells',
  statement: 'each sequence has one recurrent cell, and a state comes from where it must and nowhere else',
  classes: {
    sequences: ['1', '2', '3-4', '5-8'],
    'shared tokens': ['no', 'yes'],
    operations: ['seqRm', 'seqCp', 'seqKeep', 'clear'],
    'reused slots': ['no', 'yes'],
    fragmentation: ['no', 'yes'],
    'sets of one ubatch': ['1', '2', '3-4', '5-8'],
  },
  draw(r, all) {
    // What a move does to cells is the subject's own business: some copy shared ones, some move all that share them.
    const facts = { ...all, moves: false };
    if (facts.state && r.chance(0.2)) return { script: ofLogits(drawState(r, facts, false)) };
    const d = newEvenDraft(r, facts);
    const rounds = r.between(2, 7);
    for (let i = 0; i < rounds; i++) {
      step(d);
      for (let k = i === rounds - 1 ? 0 : r.below(3); k > 0; k--) operate(d);
    }
    if (d.calls.length === 0) fill(d);
    const { params, calls } = scriptOf(d);
    // Only of what is one ubatch the origin of every state is known.
    const whole = r.chance(0.6) && params.split !== 'whole';
    const cut = whole ? { ...params, n_ubatch: params.n_batch } : params;
    return { script: ofLogits({ params: cut, calls }) };
  },
  demand({ script }, _, facts) {
    if (script.params.embeddings === true) return null;
    const keeps = script.calls.some(({ op }) => op === 'stateLoad' || op === 'newContext');
    return keeps && !contextsAreLegal(script, facts) ? null : {};
  },
});

/** For embeddings llama.cpp cuts by sequence (`embd_all`), so what is one ubatch here would be several. */
function ofLogits({ params, calls }: Script): Script {
  return { params: changed(params, { embeddings: undefined }), calls };
}

function step(d: EvenDraft): void {
  const { r } = d;
  if (r.chance(0.65) && d.even()) return;
  d.decode(r.between(1, 24));
}

export const recurrentCells: Property = {
  ...frame,
  looks: true,
  // Nothing is compared that is rounded, so nobody has to say how.
  skip: (_, { memory }) =>
    memory === 'recurrent' || memory === 'hybrid' ? null : 'the model has no recurrent memory',
  run,
};

async function run(env: Env, c: Case): Promise<Outcome> {
  const script = c.script!;
  coverScript(env.coverage, script, trace(script, env.model.memory));
  const watch = new Watch(env, script);
  const { unexpected: worse, tokens } = await runScript(env.loaded, script, [], async (ctx, call) => {
    try {
      // Whoever has no such call is skipped before.
      return watch.after(call, await ctx.cells!());
    } catch (error) {
      watch.hide(error);
      return surprise('cells', `looking at the cells after call ${call}`, error);
    }
  });
  if (watch.hidden !== undefined) return skipped(watch.hidden, tokens);
  const unexpected = worse ?? watch.minor;
  const equal = watch.compared;
  const divergent = unexpected === null ? 0 : 1;
  const counts = { compared: equal + divergent, equal, rounding: 0, divergent, tokens };
  if (unexpected === null) return { status: 'passed', ...counts };
  const { kind, ...difference } = unexpected;
  return { status: 'failed', ...counts, failure: failureOf(env, c, difference, kind) };
}

/** The lists and the books of one run. */
class Watch {
  /** Cells that were looked at and found right. */
  compared = 0;
  /** The first thing that was wrong, and let the history go on. */
  minor: Unexpected | null = null;
  /** Why the cells of this model are not shown at all. */
  hidden: string | undefined;
  #looks = 0;
  readonly #env: Env;
  readonly #script: Script;
  readonly #lists: Lists;
  #books: RecurrentBooks;
  /** Of the context that is open now. */
  #params: ContextParams;

  constructor(env: Env, script: Script) {
    this.#env = env;
    this.#script = script;
    this.#lists = new Lists(script.params.n_seq_max, env.model.memory);
    this.#params = script.params;
    this.#books = new RecurrentBooks(script.params.n_seq_max);
  }

  /** A subject may keep the cells of some model in a way that it does not know; but they do not hide halfway. */
  hide(error: unknown): void {
    if (this.#looks === 0 && error instanceof IsobatchError && error.kind === 'refused')
      this.hidden = error.message;
  }

  after(at: number, cells: Parameters<RecurrentBooks['after']>[1]): Unexpected | null {
    const call = this.#script.calls[at]!;
    this.#looks++;
    applyCall(this.#lists, call);
    if (call.op === 'newContext') {
      this.#params = { ...this.#script.params, ...call.params };
      this.#books = new RecurrentBooks(this.#params.n_seq_max);
    }
    const decoded = call.op === 'decode' && call.refused === undefined;
    const found = this.#books.after(
      call,
      cells,
      this.#lists,
      decoded ? this.#touched(call.batch) : undefined,
    );
    if (found === null) {
      this.compared += cells.cells.length;
      return null;
    }
    const { rule, minor, got, want } = found;
    const what = `${found.what}, after call ${at} (${call.op})`;
    const unexpected = { kind: `${rule} after ${inWords(call)}`, what, got, want };
    if (minor !== true) return unexpected;
    this.minor ??= unexpected;
    return null;
  }

  #touched(batch: Batch): Touched {
    const { subject, model, oracle, coverage } = this.#env;
    const last = new Map<number, number>();
    batch.token.forEach((_, i) => {
      for (const id of idsOf(batch, i)) last.set(id, i);
    });
    const sets = [...new Set(last.values())].map((i) =>
      [...last.keys()].filter((id) => last.get(id) === i).sort((a, b) => a - b),
    );
    const chosen = (subject.splits[model.memory] ?? []).length > 0;
    const at_once = isAtOnce(batch, this.#params, chosen, oracle);
    if (at_once) note(coverage, 'sets of one ubatch', sizeClass(sets.length));
    return { sets, at_once };
  }
}

/** Findings after different operations are different. */
function inWords(call: Call): string {
  const refused = call.op !== 'clear' && call.refused !== undefined ? `refused ${call.op}` : call.op;
  return call.op === 'seqRm' && call.seq === -1 ? `${refused} of all` : refused;
}
