/**
 * The attention set (spec: probes.md 1 and 3): all scores are zero, so every visible key has the same weight 1/N
 * whatever order, mask, cell or type it has; the values are the codes, and a constant value adds up the weights (the
 * mass). The row then says which keys its query saw, and how often each.
 *
 * It cannot see: wrong positions (`llama-positions` does); keys that are all seen the same number of times too often
 * (the softmax is the same in any model); what only a second layer does.
 */
import { f32, u32 } from '../recipe-parts.ts';
import { idsOf } from './codes.ts';
import {
  addFrame,
  addIdleFfn,
  Chosen,
  copyCodes,
  type Frame,
  N_FF,
  probeFile,
  type Setter,
  stateOf,
  tokenOf,
  vocabOf,
} from './construction.ts';
import { readMean } from './mean.ts';
import type { Row, SetProbe, SetReading, Unreadable } from './types.ts';

export const N_HEAD = 4;

/** Own code, codes that were seen, mass, ballast. */
export function attentionFrame(n_embd: number, n_digits: 1 | 5): Frame {
  return { n_embd, code: { n_dims: Math.floor((n_embd - 2) / 2), n_digits } };
}

/** A llama of one layer that copies codes through attention; q and k are left to the caller. */
export function copyingLlama(frame: Frame): { chosen: Chosen; q: Setter; k: Setter } {
  const { n_embd } = frame;
  const P = frame.code.n_dims;
  const chosen = new Chosen();
  addFrame(chosen, frame);
  chosen.filled('blk.0.attn_norm.weight', 1, n_embd);
  const q = chosen.matrix('blk.0.attn_q.weight', n_embd, n_embd);
  const k = chosen.matrix('blk.0.attn_k.weight', n_embd, n_embd);
  const v = chosen.matrix('blk.0.attn_v.weight', n_embd, n_embd);
  const o = chosen.matrix('blk.0.attn_output.weight', n_embd, n_embd);
  copyCodes(frame, v, o, P);
  addIdleFfn(chosen, 'blk.0', n_embd);
  return { chosen, q, k };
}

export function llamaFile(name: string, frame: Frame, chosen: Chosen): Uint8Array {
  const { n_embd } = frame;
  return probeFile(
    'llama',
    name,
    frame,
    [
      ['llama.feed_forward_length', u32(N_FF)],
      ['llama.attention.head_count', u32(N_HEAD)],
      ['llama.attention.head_count_kv', u32(N_HEAD)],
      ['llama.rope.dimension_count', u32(n_embd / N_HEAD)],
      ['llama.rope.freq_base', f32(10_000)],
    ],
    chosen,
  );
}

export function llamaSet(name: string, n_embd: 64 | 128): SetProbe {
  const frame = attentionFrame(n_embd, 5);
  const n_ids = idsOf(frame.code);
  return {
    name,
    reads: 'set',
    arch: 'llama',
    memory: 'attention',
    describe: `which of ${n_ids} keys a query saw: llama, 1 layer, width ${n_embd}`,
    n_ids,
    n_vocab: vocabOf(frame),
    token: tokenOf,
    build: () => llamaFile(name, frame, copyingLlama(frame).chosen),
    read: (row) => readSet(row, frame),
  };
}

function readSet(row: Row, frame: Frame): SetReading | Unreadable {
  const P = frame.code.n_dims;
  const found = stateOf(row, frame);
  if ('kind' in found) return found;
  const { state, own } = found;
  const seen = readMean(state.subarray(P, 2 * P), state[2 * P]!, frame.code);
  return 'kind' in seen ? seen : { kind: 'set', own, ...seen };
}
