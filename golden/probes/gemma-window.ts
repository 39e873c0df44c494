/**
 * Sliding windows (spec: probes.md 4): a local layer and a global one that both read the token's own code and write what
 * they saw into regions of their own, so that one row says what its query saw with a window and without. The first
 * layer is local, the last one is global; what lies between adds nothing.
 *
 * gemma multiplies embeddings by sqrt(n_embd) and has no other output than the embeddings: rows of tokens are divided by
 * that, and readers are unit vectors. A reader is no legal input here: it has no ballast, so its values are too large
 * for F16. The norm behind each attention scales what it writes; the mass is scaled with it.
 */
import { f32, u32 } from '../recipe-parts.ts';
import { dimOf, idsOf, weightOf } from './codes.ts';
import {
  addIdleFfn,
  BALLAST,
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
import { readMean } from './mean.ts';
import type { Row, Unreadable, WindowProbe, WindowReading } from './types.ts';

/** Keys of the window, the query's own included; that of the random recipes. */
const WINDOW = 8;
const N_EMBD = 128;
/** Own code, codes of the local layer and their mass, those of the global one, ballast. */
const FRAME: Frame = { n_embd: N_EMBD, code: { n_dims: Math.floor((N_EMBD - 3) / 3), n_digits: 5 } };
/** Logits are capped here: far above all of them, so that the cap is the identity. */
const NO_CAP = 1e12;

const localRegion = (P: number): number => P;
const globalRegion = (P: number): number => 2 * P + 1;

export function gemmaWindow(name: string, arch: 'gemma2' | 'gemma3', n_layer: number): WindowProbe {
  const n_ids = idsOf(FRAME.code);
  return {
    name,
    reads: 'window',
    arch,
    memory: 'attention',
    window: WINDOW,
    describe: `which of ${n_ids} keys a query saw with a window of ${WINDOW} and without: ${arch}, ${n_layer} layers, width ${N_EMBD}`,
    n_ids,
    n_vocab: vocabOf(FRAME),
    token: tokenOf,
    build: () => build(name, arch, n_layer),
    read: readWindow,
  };
}

function build(name: string, arch: 'gemma2' | 'gemma3', n_layer: number): Uint8Array {
  const { n_dims: P } = FRAME.code;
  const chosen = new Chosen();
  addTiedFrame(chosen);
  // Layers 1, 3, 5, ... of gemma2 and 5, 11, ... of gemma3 are global.
  const last = arch === 'gemma2' ? 1 : 5;
  for (let i = 0; i < n_layer; i++) {
    const blk = `blk.${i}`;
    const region = i === 0 ? localRegion(P) : i === last ? globalRegion(P) : null;
    addLayer(chosen, blk, region, arch === 'gemma3');
  }
  const d = N_EMBD / N_HEAD;
  return probeFile(
    arch,
    name,
    FRAME,
    [
      [`${arch}.feed_forward_length`, u32(N_FF)],
      [`${arch}.attention.head_count`, u32(N_HEAD)],
      [`${arch}.attention.head_count_kv`, u32(N_HEAD)],
      [`${arch}.attention.key_length`, u32(d)],
      [`${arch}.attention.value_length`, u32(d)],
      [`${arch}.rope.dimension_count`, u32(d)],
      [`${arch}.attention.sliding_window`, u32(WINDOW)],
      ...(arch === 'gemma2'
        ? ([
            ['gemma2.attn_logit_softcapping', f32(50)],
            ['gemma2.final_logit_softcapping', f32(NO_CAP)],
          ] as const)
        : ([['gemma3.rope.freq_base', f32(1e6)]] as const)),
    ],
    chosen,
    n_layer,
  );
}

/** As `addFrame`, with one matrix for input and output. */
function addTiedFrame(chosen: Chosen): void {
  const { n_embd, code } = FRAME;
  const n_vocab = vocabOf(FRAME);
  const root = Math.sqrt(n_embd);
  const embd = chosen.zeros('token_embd.weight', n_embd, n_vocab);
  for (let token = 0; token < n_vocab - n_embd; token++) embd[(token + 1) * n_embd - 1] = BALLAST;
  for (let id = 0; id < idsOf(code); id++)
    embd[tokenOf(id) * n_embd + dimOf(code, id)] = weightOf(code, id) / root;
  for (let d = 0; d < n_embd; d++) embd[(n_vocab - n_embd + d) * n_embd + d] = 1;
  const norm = chosen.zeros('output_norm.weight', n_embd);
  norm.fill(BALLAST);
  norm[n_embd - 1] = 1;
}

/** A layer that copies codes into a region, or adds nothing. */
function addLayer(chosen: Chosen, blk: string, region: number | null, normedHeads: boolean): void {
  chosen.filled(`${blk}.attn_norm.weight`, 1, N_EMBD);
  chosen.zeros(`${blk}.attn_q.weight`, N_EMBD, N_EMBD);
  chosen.zeros(`${blk}.attn_k.weight`, N_EMBD, N_EMBD);
  const v = chosen.matrix(`${blk}.attn_v.weight`, N_EMBD, N_EMBD);
  const o = chosen.matrix(`${blk}.attn_output.weight`, N_EMBD, N_EMBD);
  if (region !== null) copyCodes(FRAME, v, o, region);
  if (normedHeads) {
    chosen.filled(`${blk}.attn_q_norm.weight`, 1, N_EMBD / N_HEAD);
    chosen.filled(`${blk}.attn_k_norm.weight`, 1, N_EMBD / N_HEAD);
  }
  chosen.filled(`${blk}.post_attention_norm.weight`, 1, N_EMBD);
  addIdleFfn(chosen, blk, N_EMBD);
  chosen.filled(`${blk}.post_ffw_norm.weight`, 1, N_EMBD);
}

function readWindow(row: Row): WindowReading | Unreadable {
  const { code } = FRAME;
  const P = code.n_dims;
  const found = stateOf(row, FRAME);
  if ('kind' in found) return found;
  const { state, own } = found;
  const seenFrom = (region: number) => readMean(state.subarray(region, region + P), state[region + P]!, code);
  const local = seenFrom(localRegion(P));
  if ('kind' in local) return { ...local, reason: `local layer: ${local.reason}` };
  const global = seenFrom(globalRegion(P));
  if ('kind' in global) return { ...global, reason: `global layer: ${global.reason}` };
  // The norm behind attention has scaled the mass, so it does not say what part of it lies on no key.
  return {
    kind: 'window',
    own,
    local: { ...local, mass: null },
    global: { ...global, mass: null },
    margin: Math.max(local.margin, global.margin),
  };
}
