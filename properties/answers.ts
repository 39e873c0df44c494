/**
 * What each token list says alone: computed once by the subject itself, one sequence, one token after the other, and
 * kept in a tree by tokens. On a miss the whole path of the campaign's token tree is evaluated, because its other
 * beginnings will be asked for too.
 */
import { IsobatchError } from '../contract/errors.ts';
import type { ContextParams } from '../contract/subject.ts';
import { type Numerics, numericsOf } from './choices.ts';
import { factsOf } from './facts.ts';
import { helperError, runScript } from './run-script.ts';
import { longestOf } from './token-tree.ts';
import type { Call, Env } from './types.ts';

/** A token list: its own last row, and the lists that go on from it. */
interface Node {
  row: Uint32Array | null;
  readonly next: Map<number, Node>;
}

export class Answers {
  private readonly env: Env;
  /** By the numbers with which a context computes. */
  private readonly roots = new Map<string, Node>();

  constructor(env: Env) {
    this.env = env;
  }

  /** The bits of the last row that `tokens` give alone, or a promise of them if they must be computed first. */
  row(tokens: readonly number[], numerics: Numerics): Uint32Array | Promise<Uint32Array> {
    return this.find(tokens, numerics)?.row ?? this.compute(tokens, numerics);
  }

  private root(numerics: Numerics): Node {
    const key = numericsOf(numerics);
    let root = this.roots.get(key);
    if (root === undefined) {
      root = leaf();
      this.roots.set(key, root);
    }
    return root;
  }

  private find(tokens: readonly number[], numerics: Numerics): Node | undefined {
    let node: Node | undefined = this.root(numerics);
    for (let i = 0; i < tokens.length && node !== undefined; i++) node = node.next.get(tokens[i]!);
    return node;
  }

  /**
   * Computes what many lists say alone, longest first, so that beginnings are there already. For a case that is made
   * smaller: its lists will not be asked for by others, so no path of the tree comes along.
   */
  async prepare(lists: readonly (readonly number[])[], numerics: Numerics): Promise<void> {
    for (const tokens of longestOf(lists))
      if (!this.find(tokens, numerics)?.row) await this.compute(tokens, numerics, true);
  }

  private async compute(tokens: readonly number[], numerics: Numerics, brief = false): Promise<Uint32Array> {
    const path = this.pathOf(tokens);
    const list = (brief ? undefined : factsOf(this.env).tree.paths[path]) ?? tokens;
    const calls: Call[] = list.map((token) => ({ op: 'decode', batch: { token: [token] } }));
    const run = await runScript(this.env.loaded, { params: this.params(list.length, numerics, path), calls });
    // The path may go on to what F16 cannot hold; the rows before are what was asked for.
    if (run.unexpected !== null && run.rows.length < tokens.length) {
      const { what, got, kind } = run.unexpected;
      const alone = 'a sequence alone, token by token';
      if (kind !== 'refused.memory.overflow') throw helperError(alone, run.unexpected);
      throw new IsobatchError('memory.overflow', `${alone}: ${what}: ${got}`, { tokens: list });
    }
    let node = this.root(numerics);
    list.slice(0, run.rows.length).forEach((token, i) => {
      let next = node.next.get(token);
      if (next === undefined) {
        next = leaf();
        node.next.set(token, next);
      }
      next.row ??= run.rows[i]!.bits;
      node = next;
    });
    return this.find(tokens, numerics)!.row!;
  }

  /** Number of the path of the tree that goes on from `tokens`, or -1. */
  private pathOf(tokens: readonly number[]): number {
    const { paths } = factsOf(this.env).tree;
    return paths.findIndex((path) => tokens.every((token, i) => path[i] === token));
  }

  /**
   * The plainest context: one sequence, one token a ubatch. Where the model is small, the implementations of the
   * kernels take turns, path by path, so that each is held against all others.
   */
  private params(n_ctx: number, numerics: Numerics, path: number): ContextParams {
    const { type_kv = 'F32', flash_attn, embeddings } = numerics;
    const facts = factsOf(this.env);
    const { isas } = this.env.subject;
    const isa = facts.small ? isas[Math.max(path, 0) % isas.length] : isas.at(-1);
    const offered = this.env.subject.splits[facts.memory] ?? [];
    const split = ['simple', 'sequence'].find((p) => offered.some((q) => q === p)) ?? offered[0] ?? 'simple';
    const plain = { n_ctx, n_batch: 1, n_ubatch: 1, n_seq_max: 1, split, type_kv } as ContextParams;
    const params = embeddings ? { ...plain, embeddings } : plain;
    if (flash_attn) return { ...params, flash_attn };
    return isa === undefined ? params : { ...params, isa };
  }
}

function leaf(): Node {
  return { row: null, next: new Map() };
}

const known = new WeakMap<object, Map<string, Answers>>();

/** The answers of a loaded model; shared by all properties that run on it. */
export function answersOf(env: Env): Answers {
  let bySeed = known.get(env.loaded);
  if (bySeed === undefined) {
    bySeed = new Map();
    known.set(env.loaded, bySeed);
  }
  let answers = bySeed.get(env.seed);
  if (answers === undefined) {
    answers = new Answers(env);
    bySeed.set(env.seed, answers);
  }
  return answers;
}
