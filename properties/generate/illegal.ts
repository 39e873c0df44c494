/**
 * Calls that must be refused: a legal batch with one mutation, a legal batch that does not fit, or a refused
 * operation. What kind of refusal a mutation earns is not written here: the rules of the oracle say it.
 */
import type { Batch } from '../../contract/batch.ts';
import type { ContextParams } from '../../contract/subject.ts';
import { idsOf, refusalOf } from '../trace.ts';
import type { Call } from '../types.ts';
import type { Draft } from './draft.ts';
import { refusedOperation } from './operations.ts';

type Mutable = { token: number[]; pos?: number[]; seq_id: (readonly number[])[]; logits?: boolean[] };

/** Every mutation changes one thing of a batch at the state of memory that the draft holds. */
type Mutation = (d: Draft, batch: Mutable, params: ContextParams) => void;

const MUTATIONS: readonly Mutation[] = [
  function empty(_d, batch) {
    batch.token = [];
    batch.seq_id = [];
    if (batch.pos !== undefined) batch.pos = [];
    if (batch.logits !== undefined) batch.logits = [];
  },
  function tooManyTokens({ r, facts }, batch, params) {
    const id = batch.seq_id[0]!;
    while (batch.token.length <= params.n_batch) {
      batch.token.push(r.below(facts.n_vocab));
      batch.seq_id.push(id);
    }
    delete batch.pos;
    delete batch.logits;
  },
  function fieldLength({ r }, batch) {
    if (r.chance(0.5)) batch.logits = new Array<boolean>(batch.token.length + 1).fill(true);
    else batch.pos = [...(batch.pos ?? [0]), 0, 0].slice(0, batch.token.length + 1);
  },
  function token({ r, facts }, batch) {
    batch.token[r.below(batch.token.length)] = r.pick([-1, facts.n_vocab, facts.n_vocab + 7, 2 ** 31 - 1]);
  },
  function idOutOfRange({ r, lists }, batch) {
    batch.seq_id[r.below(batch.token.length)] = [r.pick([-1, lists.n_seq_max, lists.n_seq_max + 9])];
  },
  function idTwice({ r }, batch) {
    const i = r.below(batch.token.length);
    const ids = batch.seq_id[i]!;
    batch.seq_id[i] = [...ids, ids[0]!];
  },
  function noId({ r }, batch) {
    batch.seq_id[r.below(batch.token.length)] = [];
  },
  function position({ r }, batch) {
    if (batch.pos === undefined) return;
    const i = r.below(batch.token.length);
    batch.pos[i] = batch.pos[i]! + r.pick([-1, 1, 2, -(2 ** 20), 2 ** 20]);
  },
  function repeatedToken({ r }, batch) {
    if (batch.pos === undefined) return;
    const i = r.below(batch.token.length);
    for (const list of [batch.token, batch.pos, batch.seq_id, batch.logits]) {
      (list as unknown[] | undefined)?.splice(i, 0, (list as unknown[])[i]);
    }
  },
  function swappedPositions({ r }, batch) {
    if (batch.pos === undefined || batch.token.length < 2) return;
    const i = r.below(batch.token.length - 1);
    [batch.pos[i], batch.pos[i + 1]] = [batch.pos[i + 1]!, batch.pos[i]!];
  },
  function sharedByStrangers({ r, lists }, batch) {
    // Two sequences that are as long as each other, so that only what they own differs.
    delete batch.pos;
    const pairs: number[][] = [];
    for (let a = 0; a < lists.n_seq_max; a++) {
      for (let b = a + 1; b < lists.n_seq_max; b++) {
        if (lists.length(a) > 0 && lists.posMax(a) === lists.posMax(b) && !lists.same(a, b))
          pairs.push([a, b]);
      }
    }
    if (pairs.length > 0) batch.seq_id[0] = r.pick(pairs);
  },
  function sharedAfterPrivate({ r, lists }, batch) {
    // One private token each, and then a token of both: they own different cells now.
    const [a, b] = r.shuffle(Array.from({ length: lists.n_seq_max }, (_, i) => i));
    if (b === undefined || !lists.same(a!, b)) return;
    const token = batch.token[0]!;
    batch.token = [token, token, token];
    batch.seq_id = [[a!], [b], [a!, b]];
    delete batch.pos;
    delete batch.logits;
  },
  function setTooLong({ r, facts, lists }, batch, params) {
    if (params.split !== 'whole') return;
    const seq = r.below(lists.n_seq_max);
    batch.token = Array.from({ length: params.n_ubatch + 1 }, () => r.below(facts.n_vocab));
    batch.seq_id = batch.token.map(() => [seq]);
    delete batch.pos;
    delete batch.logits;
  },
  function coupled({ r, facts, lists }, batch, params) {
    if (params.split !== 'equal-sequential') return;
    const [a, b] = r.shuffle(Array.from({ length: lists.n_seq_max }, (_, i) => i));
    if (b === undefined || !lists.same(a!, b)) return;
    batch.token = [r.below(facts.n_vocab)];
    batch.seq_id = [[a!, b]];
    delete batch.pos;
    delete batch.logits;
  },
  function tooManyCells({ r, facts, lists }, batch, params) {
    // Legal, but one or a few cells short.
    const n = params.n_ctx - lists.used + r.between(1, 3);
    const seq = r.below(lists.n_seq_max);
    batch.token = Array.from({ length: n }, () => r.below(facts.n_vocab));
    batch.seq_id = batch.token.map(() => [seq]);
    delete batch.pos;
    delete batch.logits;
  },
];

/** One token that overflows, anywhere: all ubatches before its own are done when the batch fails. */
const overflow: Mutation = ({ r, facts }, batch) => {
  batch.token[r.below(batch.token.length)] = facts.overflow!;
};

/** A batch that is refused at this state, with the kind; null if the mutation left it legal. */
export function illegalBatch(d: Draft, legal: Batch, params: ContextParams): Call | null {
  const batch: Mutable = {
    token: [...legal.token],
    seq_id: legal.token.map((_, i) => idsOf(legal, i)),
    ...(legal.pos === undefined ? {} : { pos: [...legal.pos] }),
    ...(legal.logits === undefined ? {} : { logits: [...legal.logits] }),
  };
  const overflows = params.type_kv === 'F16' && d.facts.overflow !== undefined && d.r.chance(0.5);
  (overflows ? overflow : d.r.pick(MUTATIONS))(d, batch, params);
  const call: Call = { op: 'decode', batch };
  const refused = refusalOf(d.lists, call, { params, calls: [] }, d.facts.n_vocab, d.facts.overflow);
  return refused === null || !d.facts.refuses(refused) ? null : { ...call, refused };
}

/** Some call that is refused at this state. */
export function refusedCall(d: Draft, legal: Batch, params: ContextParams): Call | null {
  for (let tries = 0; tries < 8; tries++) {
    const call = d.r.chance(0.25) ? refusedOperation(d) : illegalBatch(d, legal, params);
    if (call !== null) return call;
  }
  return refusedOperation(d);
}
