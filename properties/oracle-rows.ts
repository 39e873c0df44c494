/**
 * What the oracle says to each output row of a script, with the variance of a subject's rounding errors. Rows whose list
 * is plain are computed path by path of the campaign's token tree and kept; rows after a removal inside follow their
 * entries and are computed for this script only. The memo lives here: the oracle itself keeps nothing.
 */
import { IsobatchError } from '../contract/errors.ts';
import type { RoundingProfile, TypeKv } from '../contract/subject.ts';
import { loadModel } from '../model/load.ts';
import type { Model } from '../model/types.ts';
import { completeBatch } from '../oracle/batch.ts';
import { type Entry, encodedEntries, Sequences } from '../oracle/entries.ts';
import { carriedLogits, type ForwardOptions } from '../oracle/forward.ts';
import type { Routes } from '../oracle/routes.ts';
import type { Carried } from '../oracle/variance.ts';
import { modelBytes } from './campaign-models.ts';
import { numericsOf } from './choices.ts';
import { factsOf } from './facts.ts';
import { profileOf, type RoundedBy, unprofiled } from './profiles.ts';
import { trace } from './trace.ts';
import type { Env, Script } from './types.ts';
import { DEFAULT_P, widthOf } from './verdict.ts';

export interface OracleRow {
  readonly carried: Carried;
  /** The entry that it answers, for running it again. */
  readonly entry: Entry;
  /** Experts that were not chosen by the exact numbers alone (`branches.ts`). */
  readonly routes?: Routes;
}

interface Node {
  row: OracleRow | null;
  readonly next: Map<number, Node>;
}

const leaf = (): Node => ({ row: null, next: new Map() });

/** Tokens by which the paths of large models grow. */
const STEP = 16;

/** The rows of one model under one profile: logits, or embeddings. */
export class OracleRows {
  readonly model: Model;
  readonly profile: RoundingProfile;
  readonly embeddings: boolean;
  private readonly env: Env;
  private readonly root: Record<TypeKv, Node> = { F32: leaf(), F16: leaf() };

  constructor(env: Env, profile: RoundingProfile, embeddings = false) {
    this.env = env;
    this.profile = profile;
    this.embeddings = embeddings;
    this.model = loadModel(modelBytes(env.modelName), env.modelName);
  }

  /** What the last token of a sequence alone gives. */
  plain(tokens: readonly number[], type_kv: TypeKv): OracleRow {
    return this.find(tokens, type_kv)?.row ?? this.compute(tokens, type_kv);
  }

  /** What entries of any history give. */
  of(entries: readonly Entry[], type_kv: TypeKv): OracleRow[] {
    const rows = carriedLogits(this.model, entries, this.profile, this.options(type_kv));
    return rows.map((carried, i) => ({ carried, entry: entries[i]! }));
  }

  /** What an entry gives if tokens go to these experts. */
  along(entry: Entry, routes: Routes, type_kv: TypeKv): OracleRow {
    const options = { ...this.options(type_kv), routes };
    return { carried: carriedLogits(this.model, [entry], this.profile, options)[0]!, entry, routes };
  }

  /** How a forward pass is told which rows are wanted. */
  options(type_kv: TypeKv): ForwardOptions {
    return { type_kv, embeddings: this.embeddings, reach: widthOf(this.env.p ?? DEFAULT_P) };
  }

  private find(tokens: readonly number[], type_kv: TypeKv): Node | undefined {
    let node: Node | undefined = this.root[type_kv];
    for (let i = 0; i < tokens.length && node !== undefined; i++) node = node.next.get(tokens[i]!);
    return node;
  }

  private compute(tokens: readonly number[], type_kv: TypeKv): OracleRow {
    const { tree, small } = factsOf(this.env);
    const path = tree.paths.find((p) => tokens.every((token, i) => p[i] === token)) ?? tokens;
    // Of a large model only as much of the path as is needed now, and a little more.
    const list = small ? path : path.slice(0, Math.ceil(tokens.length / STEP) * STEP);
    const rows = this.of(entriesAlone(list), type_kv);
    let node = this.root[type_kv];
    list.forEach((token, i) => {
      let next = node.next.get(token);
      if (next === undefined) {
        next = leaf();
        node.next.set(token, next);
      }
      next.row ??= rows[i]!;
      node = next;
    });
    return rows[tokens.length - 1]!;
  }
}

/** The entries of one sequence that was evaluated in one go. */
export function entriesAlone(tokens: readonly number[]): Entry[] {
  const sequences = new Sequences(1);
  return sequences.decode({
    token: [...tokens],
    pos: tokens.map((_, i) => i),
    seq_id: tokens.map(() => [0]),
    logits: tokens.map(() => true),
  });
}

/**
 * Whether the call that was refused last may be refused because F16 cannot hold a K or V of it, or nearly so: the
 * decode number `call`, and what its tokens are by the oracle.
 */
export function mayOverflow(env: Env, script: Script, call: number): boolean {
  const unknown = unprofiled(env.subject, script.params) !== null;
  if (script.calls[call]?.op !== 'decode' || unknown) return false;
  const rows = oracleFor(env, script.params).of(entriesOf(script)[call]!, script.params.type_kv ?? 'F32');
  return rows.some((row) => row.carried.overflow);
}

/** The entries of each call of a script, by batch index; empty for what is no decode. Refused calls change nothing. */
export function entriesOf(script: Script): Entry[][] {
  const { n_seq_max } = script.params;
  const sequences = new Sequences(n_seq_max);
  const slots = new Map<string, (readonly Entry[])[]>();
  const all = Array.from({ length: n_seq_max }, (_, seq) => seq);
  const limits = { n_vocab: Number.POSITIVE_INFINITY, n_seq_max };
  return script.calls.map((call) => {
    if (call.op === 'clear') sequences.clear();
    else if (call.refused !== undefined) return [];
    else if (call.op === 'seqRm') sequences.seqRm(call.seq, call.p0, call.p1);
    else if (call.op === 'seqCp') sequences.seqCp(call.from, call.to, call.p0, call.p1);
    else if (call.op === 'seqKeep') sequences.seqKeep(call.seq);
    else if (call.op === 'seqAdd') sequences.seqAdd(call.seq, call.p0, call.p1, call.by);
    else if (call.op === 'seqDiv') sequences.seqDiv(call.seq, call.p0, call.p1, call.by);
    else if (call.op === 'newContext') sequences.clear();
    else if (call.op === 'encode') throw new RangeError('the oracle has no encoder');
    else if (call.op === 'stateSave') {
      const kept = call.seq === undefined ? all : [call.seq];
      slots.set(
        call.slot,
        kept.map((seq) => [...sequences.list(seq)]),
      );
    } else if (call.op === 'stateLoad') {
      const lists = slots.get(call.slot)!;
      for (const [seq, list] of lists.entries()) sequences.restore(call.seq ?? seq, list);
    } else {
      const { token } = call.batch;
      return sequences.decode(completeBatch(call.batch, sequences, { ...limits, n_batch: token.length }));
    }
    return [];
  });
}

/** The entries of each batch that an encoder is given, by batch index: nothing is left of the batch before. */
function encodedOf({ params, calls }: Script): { readonly entry: Entry; readonly output: boolean }[][] {
  const { n_seq_max } = params;
  return calls.map((call) => {
    if (call.op !== 'decode') return [];
    const limits = { n_vocab: Number.POSITIVE_INFINITY, n_seq_max, n_batch: call.batch.token.length };
    const batch = completeBatch(call.batch, new Sequences(n_seq_max), limits);
    return encodedEntries(batch).map((entry, i) => ({ entry, output: batch.logits[i]! }));
  });
}

/** The oracle's row for each output of a script, by call and batch index. */
export function oracleRowsOf(env: Env, script: Script): Map<string, OracleRow> {
  const rows = oracleFor(env, script.params);
  const type_kv = script.params.type_kv ?? 'F32';
  const out = new Map<string, OracleRow>();
  if (env.model.encoder === 'only') {
    encodedOf(script).forEach((entries, call) => {
      const outputs = entries.flatMap(({ output }, index) => (output ? [index] : []));
      const found = rows.of(
        outputs.map((index) => entries[index]!.entry),
        type_kv,
      );
      for (const [i, index] of outputs.entries()) out.set(rowKey(call, index), found[i]!);
    });
    return out;
  }
  const bent: [string, number, number][] = [];
  trace(script, env.model.memory).calls.forEach(({ tokens }, call) => {
    tokens.forEach(({ output, seen }, index) => {
      if (!output) return;
      if (seen !== null) out.set(rowKey(call, index), rows.plain(seen, type_kv));
      else bent.push([rowKey(call, index), call, index]);
    });
  });
  if (bent.length === 0) return out;
  const entries = entriesOf(script);
  const found = rows.of(
    bent.map(([, call, index]) => entries[call]![index]!),
    type_kv,
  );
  bent.forEach(([key], i) => {
    out.set(key, found[i]!);
  });
  return out;
}

export function rowKey(call: number, index: number): string {
  return `${call}/${index}`;
}

/** By model and seed: rows by what a context computes. */
const known = new WeakMap<object, Map<string, Map<string, OracleRows>>>();

/**
 * The oracle's rows for a loaded model in contexts that round like this one; shared by all properties that run on it.
 * Throws `usage` where the subject does not say how they round.
 */
export function oracleFor(env: Env, params: RoundedBy): OracleRows {
  let bySeed = known.get(env.loaded);
  if (bySeed === undefined) {
    bySeed = new Map();
    known.set(env.loaded, bySeed);
  }
  let rows = bySeed.get(env.seed);
  if (rows === undefined) {
    rows = new Map();
    bySeed.set(env.seed, rows);
  }
  const { flash_attn, embeddings } = params;
  const key = numericsOf({ flash_attn, embeddings });
  let found = rows.get(key);
  if (found === undefined) {
    found = new OracleRows(env, profileFor(env, params), embeddings === true);
    rows.set(key, found);
  }
  return found;
}

function profileFor(env: Env, params: RoundedBy): RoundingProfile {
  const profile = profileOf(env.subject, params);
  if (profile !== undefined) return profile;
  throw new IsobatchError('usage', `${env.subject.name}: ${unprofiled(env.subject, params)}`, {
    flash_attn: params.flash_attn === true,
  });
}
