/**
 * What the formulas of several architectures are written with: a pass over entries, named norms and products, and the
 * blocks that they share. Operations are named as their tensors, such as `blk.0.attn_q` (see `operators.ts`).
 */
import { IsobatchError } from '../../contract/errors.ts';
import type { Arch, HparamsOf, Model } from '../../model/types.ts';
import type { AttentionShape } from '../attention.ts';
import { type Entry, evaluationOf, evaluationOrder } from '../entries.ts';
import type { RopeShape } from '../math.ts';
import type { Operators } from '../operators.ts';
import { Weights } from '../weights.ts';

/** One evaluation of a model: of the entries asked for, and of all on which they depend. */
export interface Pass<R> {
  readonly weights: Weights;
  readonly ops: Operators<R>;
  /** What is evaluated, layer by layer; each entry after everything that it saw. A "list" below has a row for each. */
  readonly order: readonly Entry[];
  /** Places in `order`. */
  readonly place: ReadonlyMap<Entry, number>;
  readonly asked: readonly Entry[];
  /** The row after the last norm (n_embd) is asked for instead of logits (n_vocab). */
  readonly embeddings: boolean;
}

/**
 * The formula of an architecture: a row for each entry that was asked for. Throws `batch.token`, `memory.overflow`
 * (F16), `model` for a tensor that is missing, `internal` for entries that its memory cannot have.
 */
export type Rows<A extends Arch> = <R>(pass: Pass<R>, hparams: HparamsOf<A>) => R[];

export function passOf<R>(
  model: Model,
  asked: readonly Entry[],
  ops: Operators<R>,
  embeddings: boolean,
): Pass<R> {
  const order = evaluationOrder(asked);
  const place = new Map(order.map((entry, t) => [entry, t]));
  return { weights: new Weights(model), ops, order, place, asked, embeddings };
}

/** x -> W x with W = `name`.weight. */
export function linear<R>({ weights, ops }: Pass<R>, name: string): (x: R) => R {
  const w = weights.matrix(`${name}.weight`);
  return (x) => ops.matVec(w, x, name);
}

/** x -> RMSNorm(x, `name`.weight). */
export function rmsNorm<R>({ weights, ops }: Pass<R>, name: string, eps: number): (x: R) => R {
  const w = weights.vector(`${name}.weight`);
  return (x) => ops.rmsNorm(x, eps, w, name);
}

/** x -> RMSNorm of each n_embd_head channels of x by themselves, all with `name`.weight {n_embd_head}. */
export function headNorm<R>(
  pass: Pass<R>,
  name: string,
  { n_head, n_embd_head: d }: { readonly n_head: number; readonly n_embd_head: number },
  eps: number,
): (x: R) => R {
  const { ops } = pass;
  const norm = rmsNorm(pass, name, eps);
  const heads = Array.from({ length: n_head }, (_, head) => head);
  return (x) => ops.join(heads.map((head) => norm(ops.slice(x, head * d, (head + 1) * d))));
}

/** The list of the tokens' embeddings. Throws `batch.token`. */
export function embedded<R>({ weights, ops, order }: Pass<R>): R[] {
  const token_embd = weights.matrix('token_embd.weight');
  return order.map((entry) => ops.row(token_embd, entry.token));
}

/**
 * The end of a pass: the rows that were asked for, normed, and through the output (token_embd if there is none), then
 * capped (0: not at all).
 */
export function outputs<R>(pass: Pass<R>, h: readonly R[], normed: (x: R) => R, softcap = 0): R[] {
  const { weights, ops, place, asked, embeddings } = pass;
  const output = weights.matrix(weights.has('output.weight') ? 'output.weight' : 'token_embd.weight');
  return asked.map((entry) => {
    const last = normed(h[place.get(evaluationOf(entry))!]!);
    if (embeddings) return last;
    const logits = ops.matVec(output, last, 'output');
    return softcap > 0 ? ops.softcap(logits, softcap, 'output_cap') : logits;
  });
}

/** Something that an entry saw: the place of its evaluation, and by how much its key was turned until then. */
export interface Seen {
  readonly place: number;
  /** Where it stood then. */
  readonly pos: number;
  readonly turns: readonly number[];
}

/** What each entry saw, itself last. */
export function sawPlaces({ order, place }: Pass<unknown>): Seen[][] {
  return order.map((entry) =>
    entry.saw.map((seen) => ({
      place: place.get(evaluationOf(seen))!,
      pos: seen.pos,
      turns: seen.turns ?? [],
    })),
  );
}

/** Lists of queries, keys and values, and what turns a row of keys by a number of positions (none: nothing does). */
export interface Attended<R> {
  readonly q: readonly R[];
  readonly k: readonly R[];
  readonly v: readonly R[];
  readonly turn?: (k: R, delta: number) => R;
}

/**
 * Attention of every entry over those that it sees, K and V as memory keeps them: the list of softmax(q k / sqrt(d)) v,
 * before the output matrix. With `slopes` scores fall with the distance (ALiBi). A key that was moved was turned where it lay, and kept again, once for each move. Throws
 * `memory.overflow` (F16).
 */
export function attended<R>(
  { ops, order }: Pass<R>,
  il: number,
  { q, k, v, turn }: Attended<R>,
  saw: readonly (readonly Seen[])[],
  shape: AttentionShape,
  slopes?: readonly number[],
): R[] {
  const name = `K of layer ${il}`;
  const keys = k.map((x) => ops.stored(x, name));
  const values = v.map((x) => ops.stored(x, `V of layer ${il}`));
  const turned = new Map<string, R>();
  const keyOf = ({ place, turns }: Seen): R => {
    if (turn === undefined || turns.length === 0) {
      return keys[place]!;
    }
    const id = `${place}: ${turns.join()}`;
    if (!turned.has(id)) {
      turned.set(
        id,
        turns.reduce<R>((x, delta) => ops.stored(turn(x, delta), name), keys[place]!),
      );
    }
    return turned.get(id)!;
  };
  return q.map((x, t) => {
    const seen = saw[t]!;
    const seenValues = seen.map(({ place }) => values[place]!);
    const away = seen.map(({ pos }) => Math.abs(order[t]!.pos_eval - pos));
    const biased = slopes === undefined ? shape : { ...shape, alibi: { slopes, away } };
    return ops.attend(x, seen.map(keyOf), seenValues, biased, `blk.${il}.attn`);
  });
}

/** What happens to q and k before they meet. */
export interface Heads {
  /** Turns them by their positions. */
  readonly rope?: RopeShape;
  /** Norms each head by itself, by attn_q_norm and attn_k_norm. */
  readonly headNormEps?: number;
}

/** Attention of layer il over the list u of normed rows, with a matrix each for q, k, v and what comes out. */
export function attention<R>(
  pass: Pass<R>,
  il: number,
  u: readonly R[],
  saw: readonly (readonly Seen[])[],
  shape: AttentionShape,
  { rope, headNormEps: eps }: Heads = {},
): R[] {
  const { ops, order } = pass;
  const blk = `blk.${il}`;
  const { n_head, n_head_kv, n_embd_head } = shape;
  const product = (name: string) => linear(pass, `${blk}.attn_${name}`);
  const normed = (name: string, heads: number) =>
    eps === undefined
      ? (x: R) => x
      : headNorm(pass, `${blk}.attn_${name}_norm`, { n_head: heads, n_embd_head }, eps);
  const turn = rope && ((x: R, by: number): R => ops.rope(x, by, rope));
  const turned = (x: R, t: number): R => (turn ? turn(x, order[t]!.pos_eval) : x);
  const q = u.map(product('q')).map(normed('q', n_head)).map(turned);
  const k = u.map(product('k')).map(normed('k', n_head_kv)).map(turned);
  const v = u.map(product('v'));
  return attended(pass, il, { q, k, v, turn }, saw, shape).map(product('output'));
}

/** n -> down(SiLU(gate n) * up n), or with GELU. */
export function gatedFeedForward<R>(
  pass: Pass<R>,
  blk: string,
  gated: 'silu' | 'gelu' = 'silu',
): (n: R) => R {
  const { ops } = pass;
  const gate = linear(pass, `${blk}.ffn_gate`);
  const up = linear(pass, `${blk}.ffn_up`);
  const down = linear(pass, `${blk}.ffn_down`);
  return (n) => down(ops.mul(ops[gated](gate(n), `${blk}.ffn_${gated}`), up(n), `${blk}.ffn_mul`));
}

/** The second half of layer il: the list of h + net(n), n = RMSNorm(h, ffn_norm). The net may ask which entry it is. */
export function feedForward<R>(
  pass: Pass<R>,
  il: number,
  h: readonly R[],
  eps: number,
  net: (n: R, t: number) => R = gatedFeedForward(pass, `blk.${il}`),
): R[] {
  const norm = rmsNorm(pass, `blk.${il}.ffn_norm`, eps);
  return h.map((x, t) => pass.ops.add(x, net(norm(x), t), `blk.${il}.ffn_add`));
}

/**
 * For recurrences: the place of the entry after which each entry was evaluated, -1 for the first of a list. Throws
 * `internal` for an entry that does not continue the one before it.
 */
export function previousPlaces({ order, place }: Pass<unknown>): number[] {
  return order.map((entry) => {
    const before = predecessor(entry);
    return before === undefined ? -1 : place.get(before)!;
  });
}

/** The evaluation after which this one was made; none for the first of a list. Positions do not matter to a state. */
function predecessor(entry: Entry): Entry | undefined {
  const list = entry.saw.map(evaluationOf);
  const previous = list.at(-2);
  const history = (previous?.saw ?? []).map(evaluationOf);
  if (history.length !== list.length - 1 || history.some((seen, i) => seen !== list[i])) {
    throw new IsobatchError(
      'internal',
      `the entry at position ${entry.pos_eval} does not continue the one before it; a recurrent state has no such history`,
      { pos: entry.pos_eval },
    );
  }
  return previous;
}
