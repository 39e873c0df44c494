/**
 * The first part of shrinking where every try is slow and faults hang on how batches are cut into ubatches (real
 * llama.cpp): a case that is cut to a small n_ubatch, with every row compared, loses tokens far more easily than one
 * whose single failing row sits in a certain ubatch. So here all outputs come first, then n_ubatch, then whole
 * sequences and calls, then tokens in halves, quarters, ..., each sequence by itself, going on where the last cut
 * succeeded instead of beginning anew. The search of `shrinker.ts` does the rest.
 */
import type { Facts } from './facts.ts';
import { factsOf } from './facts.ts';
import { Random } from './random.ts';
import { isLarge } from './sample.ts';
import { cutter } from './shrink.ts';
import { withoutSequences } from './shrink-batch.ts';
import { sequencesOf } from './shrink-calls.ts';
import {
  blocksOf,
  longest,
  movedAndCut,
  type Place,
  reordered,
  repeated,
  roomy,
  tokensIn,
  withAllOutputs,
  withNext,
  without,
  withRegularTokens,
} from './shrink-moves.ts';
import { changed } from './shrink-params.ts';
import type { Call, Case, Env, Failure, Property, Script } from './types.ts';

/** What judges cases for the cuts, and hears of the smallest. */
export interface Judge {
  /** The failure of a case that fails in the same way, null if it does not, undefined if the time is up. */
  judge(c: Case): Promise<Failure | null | undefined>;
  /** The smallest case so far. */
  found(failure: Failure): void;
}

/** Cases of so few tokens need not be shaken. */
const SMALL = 8;
/** Of so many blocks, two at once are not tried in order. */
const MOST_BLOCKS = 8;
/** Cases of more tokens are scaled first, and so many tries in a row that do not fail are made of it. */
const LARGE = 32;
const MOST_SCALED = 16;
/** Draws in a row that do not fail, after which a case is left as it is. */
const MOST_DRAWS = 60;
/** A case of so few tokens needs no other descent, and so many there are at most. */
const ENOUGH = 12;
const DESCENTS = 20;
/** Each so many-th descent begins at the top. */
const AGAIN = 3;
const MOST_DISTURBED = 30;
/** Sizes of ubatches, most promising first. */
const SIZES = [2, 1, 3, 4, 6, 8, 12, 16, 24, 32];
/** If sequences and calls have left so much of a large case, it is scaled. */
const MOSTLY = 0.9;

export class Cuts {
  readonly #property: Property;
  readonly #env: Env;
  readonly #facts: Facts;
  readonly #judge: Judge;
  readonly #deadline: number;
  /** The same for every search from this case. */
  readonly #r: Random;
  #best: Case;
  #smallest: Case;
  #least: number;
  #late = false;
  #regular = false;

  /** `deadline`: milliseconds since the epoch. */
  constructor(property: Property, env: Env, c: Case, judge: Judge, deadline: number) {
    this.#property = property;
    this.#env = env;
    this.#facts = factsOf(env);
    this.#judge = judge;
    this.#deadline = deadline;
    this.#r = new Random(c.index, tokensIn(c.script!.calls), 1);
    this.#best = c;
    this.#smallest = c;
    this.#least = tokensIn(c.script!.calls);
  }

  /** Until a case is small, or the time is up: where one descent ends, another from nearby may not. */
  async run(): Promise<void> {
    const outputs = withAllOutputs(this.#script);
    // Other tokens than those of the tree would have to be measured on copies of a large model.
    this.#regular = !isLarge(this.#env.model) && (await this.#takes(withRegularTokens(outputs, this.#facts)));
    if (!this.#regular) await this.#takes(outputs);
    const top = this.#best;
    await this.#descend();
    for (let n = 1; n < DESCENTS && this.#least > ENOUGH && !this.#late; n++) {
      const again = n % AGAIN === 0;
      this.#best = again ? top : this.#smallest;
      if (again) await this.#scaled();
      if (again || (await this.#disturbed())) await this.#descend();
    }
  }

  async #descend(): Promise<void> {
    do {
      const before = this.#tokensLeft;
      await this.#ubatch();
      await this.#sequences();
      await this.#calls();
      if (this.#tokensLeft > MOSTLY * before) await this.#scaled();
      await this.#tokens();
    } while ((await this.#shaken()) || (await this.#replaced()));
  }

  /** A few calls less, and another block a little longer: one larger block may do what several have done. */
  async #replaced(): Promise<boolean> {
    if (this.#tokensLeft <= ENOUGH) return false;
    const { calls } = this.#script;
    for (let n = Math.min(3, calls.length - 1); n >= 1; n--)
      for (let from = calls.length - n; from >= 0; from--) {
        const rest = calls.filter((_, c) => c < from || c >= from + n);
        for (const block of blocksOf(rest))
          for (const more of [1, 2, 4]) {
            const longer = repeated(rest, block.slice(0, more));
            if (tokensIn(longer) >= this.#tokensLeft) continue;
            if (await this.#takes(roomy(cutter(this.#script, this.#facts)(longer), this.#facts))) return true;
          }
      }
    return false;
  }

  /**
   * A few changes at random that make it no smaller: tokens that come a batch earlier or in another order, more tokens,
   * another n_ubatch.
   * True with the first that fails in the same way.
   */
  async #disturbed(): Promise<boolean> {
    const r = this.#r;
    for (let n = 0; n < MOST_DISTURBED && !this.#late; n++) {
      let script = this.#script;
      const changes = r.between(1, 3);
      for (let k = 0; k < changes; k++) {
        const { params, calls } = script;
        const block = r.pick(blocksOf(calls));
        const part = block.slice(0, r.between(1, Math.min(3, block.length)));
        const varied = [
          () => movedAndCut(calls, part, []),
          () => repeated(calls, part),
          () => reordered(calls, part[0]!, r),
          () => withNext(calls, part[0]!.call),
        ][r.below(4)]!();
        script = r.chance(0.3)
          ? { params: changed(params, { n_ubatch: r.between(1, Math.min(4, params.n_batch)) }), calls }
          : cutter(script, this.#facts)(varied ?? calls);
      }
      if (await this.#takes(roomy(script, this.#facts))) return true;
    }
    return false;
  }

  /** Many blocks and n_ubatch shorter by one factor: what matters is often how full one thing is beside another. */
  async #scaled(): Promise<void> {
    const r = this.#r;
    for (let n = 0; n < MOST_SCALED && this.#tokensLeft > LARGE && !this.#late; n++) {
      const { params, calls } = this.#script;
      const share = r.pick([0.35, 0.5, 0.65, 0.8]);
      const kept = (length: number): number => Math.max(1, Math.round(length * share));
      const out = blocksOf(calls).flatMap((block) => (r.chance(0.7) ? block.slice(kept(block.length)) : []));
      const n_ubatch = r.chance(0.7) ? kept(params.n_ubatch) : params.n_ubatch;
      const script = cutter(this.#script, this.#facts)(without(calls, out));
      if (out.length === 0) continue;
      if (await this.#takes({ ...script, params: changed(script.params, { n_ubatch }) })) n = -1;
    }
  }

  /**
   * Some changes at once that make fewer tokens, drawn at random, until many in a row do not fail; true if a fifth of
   * the tokens is gone, so that a look at the rest in order pays again.
   */
  async #shaken(): Promise<boolean> {
    const began = this.#tokensLeft;
    const r = this.#r;
    for (let n = 0; n < MOST_DRAWS && this.#tokensLeft > SMALL && !this.#late; n++) {
      let script = this.#script;
      const changes = r.between(1, 3);
      for (let k = 0; k < changes; k++) script = this.#drawn(r, script);
      if (tokensIn(script.calls) < this.#tokensLeft && (await this.#takes(script))) n = -1;
    }
    return this.#tokensLeft < began && !this.#late;
  }

  get #tokensLeft(): number {
    return tokensIn(this.#script.calls);
  }

  /** One change: another n_ubatch, a call or a part of a block less, another order, or tokens that come in an earlier batch. */
  #drawn(r: Random, script: Script): Script {
    const { params, calls } = script;
    if (r.chance(0.25))
      return { params: changed(params, { n_ubatch: r.between(1, Math.min(4, params.n_batch)) }), calls };
    if (r.chance(0.1)) {
      const out = r.below(calls.length);
      return cutter(script, this.#facts)(calls.filter((call, i) => i !== out || call.op === 'decode'));
    }
    if (r.chance(0.1)) {
      const one = withNext(calls, r.below(calls.length));
      return one === null ? script : roomy(cutter(script, this.#facts)(one), this.#facts);
    }
    const blocks = blocksOf(calls);
    if (blocks.length === 0) return script;
    const block = r.pick(blocks);
    if (r.chance(0.1)) return cutter(script, this.#facts)(without(calls, block));
    const large = tokensIn(calls) > LARGE;
    if (!large && r.chance(0.2)) return cutter(script, this.#facts)(reordered(calls, block[0]!, r));
    const n = r.between(1, r.chance(large ? 0.3 : 0.7) ? Math.min(3, block.length) : block.length);
    const ends = r.chance(0.5) ? block.slice(0, n) : block.slice(-n);
    const others = blocks.filter((other) => other !== block && other.length >= n);
    const moved =
      r.chance(0.5) && others.length > 0
        ? movedAndCut(calls, block.slice(0, n), r.pick(others).slice(-n))
        : null;
    return cutter(script, this.#facts)(moved ?? without(calls, ends));
  }

  get #script(): Script {
    return this.#best.script!;
  }

  /** Whether a script is legal and fails in the same way. */
  async #takes(script: Script): Promise<boolean> {
    this.#late ||= Date.now() >= this.#deadline;
    if (this.#late) return false;
    const told = this.#regular ? withRegularTokens(script, this.#facts) : script;
    const c = this.#property.rebuild!(this.#env, this.#best, { script: told });
    if (c === null) return false;
    const failure = await this.#judge.judge(c);
    if (failure === undefined) this.#late = true;
    if (!failure) return false;
    this.#best = c;
    if (this.#tokensLeft < this.#least) {
      this.#least = this.#tokensLeft;
      this.#smallest = c;
      this.#judge.found(failure);
    }
    return true;
  }

  /** With these calls: n_ubatch as it is, or as much smaller as the longest batch. */
  async #cut(calls: readonly Call[]): Promise<boolean> {
    const before = longest(this.#script.calls);
    const script = cutter(this.#script, this.#facts)(calls);
    if (await this.#takes(script)) return true;
    const { n_ubatch } = this.#script.params;
    const share = Math.max(1, Math.round((n_ubatch * longest(calls)) / Math.max(1, before)));
    const params = changed(script.params, { n_ubatch: share });
    return share < script.params.n_ubatch && this.#takes({ ...script, params });
  }

  async #ubatch(): Promise<void> {
    const { params, calls } = this.#script;
    for (const n_ubatch of SIZES.filter((n) => n < params.n_ubatch))
      if (await this.#takes({ params: changed(params, { n_ubatch }), calls })) return;
  }

  async #sequences(): Promise<void> {
    for (const seq of sequencesOf(this.#script.calls)) {
      const out = new Set([seq]);
      const calls = this.#script.calls.map((call) => withoutSequences(call, out));
      await this.#cut(calls.filter((call) => call !== null));
    }
  }

  async #calls(): Promise<void> {
    for (let c = this.#script.calls.length - 1; c >= 0; c--)
      await this.#cut(this.#script.calls.filter((_, i) => i !== c));
    for (let c = this.#script.calls.length - 2; c >= 0; c--) {
      const one = withNext(this.#script.calls, c);
      if (one !== null) await this.#takes(roomy(cutter(this.#script, this.#facts)(one), this.#facts));
    }
  }

  /** Whole blocks, then the ends of blocks, then two blocks at once: what one frees, another fills. */
  async #tokens(): Promise<void> {
    for (let a = this.#blocks.length - 1; a >= 0; a--) {
      const { calls } = this.#script;
      const block = this.#blocks[a];
      if (block !== undefined) await this.#cut(without(calls, block));
    }
    const most = Math.max(0, ...this.#blocks.map((block) => block.length));
    // Small steps in a large case cost most and win least.
    const least = () => (this.#tokensLeft > LARGE ? most >> 2 : 1);
    for (let n = most >> 1; n >= least() && n > 0 && !this.#late; n >>= 1)
      for (let a = this.#blocks.length - 1; a >= 0; a--) while (await this.#shorten(n, a));
    if (this.#blocks.length > MOST_BLOCKS) return;
    for (let n = most >> 1; n >= least() && n > 0 && !this.#late; n >>= 1)
      for (let a = this.#blocks.length - 1; a >= 0; a--)
        for (let b = this.#blocks.length - 1; b >= 0; b--) {
          if (a === b) continue;
          while (await this.#traded(n, a, b));
          while (await this.#balanced(n, a, b));
          if (b < a) while (await this.#shorten(n, a, b));
        }
  }

  get #blocks(): Place[][] {
    return blocksOf(this.#script.calls);
  }

  /** Without the last n tokens of some blocks, which must have more. */
  async #shorten(n: number, ...which: readonly number[]): Promise<boolean> {
    const { calls } = this.#script;
    const chosen = which.map((at) => this.#blocks[at]);
    if (chosen.some((block) => block === undefined || block.length <= n)) return false;
    return this.#cut(
      without(
        calls,
        chosen.flatMap((block) => block!.slice(-n)),
      ),
    );
  }

  /** One block has a token more, another n less: what is freed twice may do what many tokens have done. */
  async #traded(n: number, longer: number, shorter: number): Promise<boolean> {
    const [more, less] = [this.#blocks[longer], this.#blocks[shorter]];
    if (n < 2 || more === undefined || less === undefined || less.length <= n) return false;
    const rest = without(this.#script.calls, less.slice(-n));
    const block = blocksOf(rest)[longer];
    if (block === undefined) return false;
    const script = cutter(this.#script, this.#facts)(repeated(rest, block.slice(0, 1)));
    return this.#takes(roomy(script, this.#facts));
  }

  /** The first n tokens of one block come a batch earlier, and another block has n less: as much to do afterwards. */
  async #balanced(n: number, from: number, other: number): Promise<boolean> {
    const [moved, cut] = [this.#blocks[from], this.#blocks[other]];
    if (moved === undefined || cut === undefined || moved.length < n || cut.length < n) return false;
    const calls = movedAndCut(this.#script.calls, moved.slice(0, n), cut.slice(-n));
    return calls !== null && this.#takes(cutter(this.#script, this.#facts)(calls));
  }
}
