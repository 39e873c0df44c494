/**
 * A hybrid (spec: probes.md 5): layer 0 is the mixer of `mamba`, layer 1 attention as in `llama-set`; both read the
 * token's own code and write into regions of their own, so that one row says what the state held and what attention
 * saw. jamba norms B and C: the constant that they are made from is large against the epsilon of that norm.
 */
import { i32s, u32 } from '../recipe-parts.ts';
import { type Code, idsOf } from './codes.ts';
import {
  addFrame,
  addIdleFfn,
  Chosen,
  copyCodes,
  type Frame,
  N_FF,
  probeFile,
  stateOf,
  tokenOf,
  vocabOf,
} from './construction.ts';
import { N_HEAD } from './llama-set.ts';
import { addMixer, D_STATE, DT_RANK, G, readHeld, ssmKeys } from './mamba-state.ts';
import { readMean } from './mean.ts';
import type { HybridProbe, HybridReading, Row, Unreadable } from './types.ts';

const N_EMBD = 256;

export function jambaHybrid(name: string, n_digits: 1 | 5): HybridProbe {
  // As in `mamba`: the order of tokens is readable only if each has its own channel.
  const n_groups = n_digits === 1 ? 3 : 1;
  const code: Code = { n_dims: Math.floor((N_EMBD - 2) / (2 + n_groups)), n_digits };
  const frame = { n_embd: N_EMBD, code };
  const n_ids = idsOf(code);
  const reads = n_groups === 3 ? 'count, order and convolution window' : 'count';
  return {
    name,
    reads: 'hybrid',
    arch: 'jamba',
    memory: 'hybrid',
    describe: `${reads} of ${n_ids} tokens in a state, and which of them attention saw: jamba, 2 layers, width ${N_EMBD}`,
    n_ids,
    n_vocab: vocabOf(frame),
    token: tokenOf,
    build: () => build(name, frame, n_groups),
    read: (row) => readHybrid(row, frame, n_groups),
  };
}

function build(name: string, frame: Frame, n_groups: number): Uint8Array {
  const chosen = new Chosen();
  addFrame(chosen, frame);
  addMixer(chosen, frame, n_groups, G);
  chosen.filled('blk.0.ssm_dt_norm.weight', 1, DT_RANK);
  // One element of D_STATE is not zero; its norm is the root of that.
  chosen.filled('blk.0.ssm_b_norm.weight', 1 / Math.sqrt(D_STATE), D_STATE);
  chosen.filled('blk.0.ssm_c_norm.weight', 1 / Math.sqrt(D_STATE), D_STATE);
  addIdleFfn(chosen, 'blk.0', N_EMBD);
  chosen.filled('blk.1.attn_norm.weight', 1, N_EMBD);
  chosen.zeros('blk.1.attn_q.weight', N_EMBD, N_EMBD);
  chosen.zeros('blk.1.attn_k.weight', N_EMBD, N_EMBD);
  const v = chosen.matrix('blk.1.attn_v.weight', N_EMBD, N_EMBD);
  const o = chosen.matrix('blk.1.attn_output.weight', N_EMBD, N_EMBD);
  copyCodes(frame, v, o, (1 + n_groups) * frame.code.n_dims);
  addIdleFfn(chosen, 'blk.1', N_EMBD);
  return probeFile(
    'jamba',
    name,
    frame,
    [
      ['jamba.feed_forward_length', u32(N_FF)],
      ['jamba.attention.head_count', u32(N_HEAD)],
      // A layer without heads of keys and values is recurrent.
      ['jamba.attention.head_count_kv', i32s([0, N_HEAD])],
      ...ssmKeys('jamba', N_EMBD),
    ],
    chosen,
    2,
  );
}

function readHybrid(row: Row, frame: Frame, n_groups: number): HybridReading | Unreadable {
  const { code } = frame;
  const P = code.n_dims;
  const found = stateOf(row, frame);
  if ('kind' in found) return found;
  const held = readHeld(found.state, code, n_groups);
  if ('kind' in held) return held;
  const at = (1 + n_groups) * P;
  const set = readMean(found.state.subarray(at, at + P), found.state[at + P]!, code);
  if ('kind' in set) return set;
  return {
    kind: 'hybrid',
    own: found.own,
    set,
    state: held,
    margin: Math.max(held.margin, set.margin),
  };
}
