/**
 * The recurrent state (spec: probes.md 5). Channels in groups of P, each fed with the token's code: without decay the
 * state is the count of all tokens since its start; with decay 1/2 it holds their order; with immediate decay and the
 * taps 1, 2, 4, 8 it holds what the convolution sees now. Gates are SiLU(32) = 32 and SiLU(0) = 0, exact in float32.
 *
 * `mamba` has one dim an id and reads count, order and convolution; `mamba-count` has five digits and only counts (in
 * three groups of digits nobody could tell a later token from a heavier one).
 * Ages are read for tokens that are there once. They cannot see positions (a recurrence has none), nor what only a
 * second layer does.
 */
import { type Metadata, u32 } from '../recipe-parts.ts';
import { type Code, countsOf, idsOf, integersOf } from './codes.ts';
import {
  addFrame,
  BALLAST,
  Chosen,
  type Frame,
  probeFile,
  stateOf,
  tokenOf,
  unreadable,
  vocabOf,
} from './construction.ts';
import type { HeldState, Row, StateProbe, StateReading, Unreadable } from './types.ts';

/** Tokens that the convolution sees: lags 0 to 3. */
export const D_CONV = 4;
export const D_STATE = 16;
export const DT_RANK = 4;
/** The gate: SiLU is the identity in float32 from here on, and softplus from 20 on. */
export const G = 32;
/** Decay of each group by exp(G * rate): none, by half, all. */
const RATES = [0, -Math.LN2 / G, -1000];
/** An age is this near to an integer. */
const AGE_TOLERANCE = 0.01;

/** Widths whose root is a power of two: the ballast, and with it every sum, is then exact. */
export function mambaState(name: string, n_embd: 64 | 256, n_digits: 1 | 5): StateProbe {
  // The order of tokens is readable only if each has its own channel.
  const n_groups = n_digits === 1 ? 3 : 1;
  const code: Code = { n_dims: Math.floor((n_embd - 1) / (1 + n_groups)), n_digits };
  const frame = { n_embd, code };
  const n_ids = idsOf(code);
  const reads = n_groups === 3 ? 'count, order and convolution window' : 'count';
  return {
    name,
    reads: 'state',
    arch: 'mamba',
    memory: 'recurrent',
    describe: `${reads} of ${n_ids} tokens in a state: mamba, 1 layer, width ${n_embd}`,
    n_ids,
    n_vocab: vocabOf(frame),
    token: tokenOf,
    build: () => build(name, frame, n_groups),
    read: (row) => readState(row, frame, n_groups),
  };
}

function build(name: string, frame: Frame, n_groups: number): Uint8Array {
  const { n_embd } = frame;
  const chosen = new Chosen();
  addFrame(chosen, frame);
  addMixer(chosen, frame, n_groups, 1 / G);
  return probeFile(
    'mamba',
    name,
    frame,
    [
      ['mamba.feed_forward_length', u32(0)],
      ['mamba.attention.head_count', u32(0)],
      ...ssmKeys('mamba', n_embd),
    ],
    chosen,
  );
}

export function ssmKeys(arch: string, n_embd: number): Metadata {
  return [
    [`${arch}.ssm.conv_kernel`, u32(D_CONV)],
    [`${arch}.ssm.inner_size`, u32(2 * n_embd)],
    [`${arch}.ssm.state_size`, u32(D_STATE)],
    [`${arch}.ssm.time_step_rank`, u32(DT_RANK)],
  ];
}

/**
 * The mixer of layer 0: what it reads goes to the regions behind the token's own code. `b` is the weight from the
 * constant channel, which holds 32, to B and C: they become 32 b, or whatever a norm makes of that.
 */
export function addMixer(chosen: Chosen, frame: Frame, n_groups: number, b: number): void {
  const { n_embd } = frame;
  const d_inner = 2 * n_embd;
  const P = frame.code.n_dims;
  const used = n_groups * P;
  chosen.filled('blk.0.attn_norm.weight', 1, n_embd);
  const ssm_in = chosen.matrix('blk.0.ssm_in.weight', n_embd, 2 * d_inner);
  const conv = chosen.matrix('blk.0.ssm_conv1d.weight', D_CONV, d_inner);
  chosen.zeros('blk.0.ssm_conv1d.bias', d_inner);
  const ssm_x = chosen.matrix('blk.0.ssm_x.weight', d_inner, DT_RANK + 2 * D_STATE);
  chosen.zeros('blk.0.ssm_dt.weight', DT_RANK, d_inner);
  chosen.filled('blk.0.ssm_dt.bias', G, d_inner);
  const ssm_a = chosen.matrix('blk.0.ssm_a', D_STATE, d_inner);
  chosen.zeros('blk.0.ssm_d', d_inner);
  const ssm_out = chosen.matrix('blk.0.ssm_out.weight', d_inner, n_embd);

  const constant = G / Math.sqrt(n_embd);
  for (let c = 0; c <= used; c++) {
    const group = Math.floor(c / P);
    // The channel after the groups is constant; it makes B and C.
    if (c === used) ssm_in(n_embd - 1, c, constant);
    else ssm_in(c % P, c, G * BALLAST);
    ssm_in(n_embd - 1, d_inner + c, constant);
    if (c < used && group === 2) for (let tap = 0; tap < D_CONV; tap++) conv(tap, c, 2 ** tap);
    else conv(D_CONV - 1, c, 1);
    for (let n = 0; n < D_STATE; n++) ssm_a(n, c, c < used ? RATES[group]! : 0);
    if (c < used) ssm_out(c, P + c, 1 / (G * G * G));
  }
  ssm_x(used, DT_RANK, b);
  ssm_x(used, DT_RANK + D_STATE, b);
}

function readState(row: Row, frame: Frame, n_groups: number): StateReading | Unreadable {
  const found = stateOf(row, frame);
  if ('kind' in found) return found;
  const held = readHeld(found.state, frame.code, n_groups);
  return 'kind' in held ? held : { kind: 'state', own: found.own, ...held };
}

/** What the regions behind the token's own code say about the state. */
export function readHeld(state: Float64Array, code: Code, n_groups: number): HeldState | Unreadable {
  const P = code.n_dims;
  const sums = integersOf(state.subarray(P, 2 * P));
  const counts = sums === null ? null : countsOf(code, sums.integers);
  if (sums === null || counts === null) return unreadable('its state is not a sum of whole tokens');
  const rest = { oldest: Number.POSITIVE_INFINITY, shifts: null };
  if (n_groups === 1) return { counts, ages: null, lags: null, ...rest, margin: sums.margin };
  const ages = readAges(state.subarray(2 * P, 3 * P), counts);
  if ('kind' in ages) return ages;
  const lags = readLags(state.subarray(3 * P, 4 * P));
  if ('kind' in lags) return lags;
  const margin = Math.max(sums.margin, ages.margin, lags.margin);
  return { counts, ages: ages.ages, lags: lags.lags, ...rest, margin };
}

/** Of tokens that went in once: the state of the second group is 2^-age. */
function readAges(
  order: Float64Array,
  counts: ReadonlyMap<number, number>,
): { ages: Map<number, number>; margin: number } | Unreadable {
  const ages = new Map<number, number>();
  let margin = 0;
  for (let id = 0; id < order.length; id++) {
    const count = counts.get(id) ?? 0;
    if (count === 0 && order[id] !== 0) return unreadable('its state has an order, but no count, of a token');
    if (count !== 1) continue;
    // Not the negative: an age of -0 helps nobody.
    const age = 0 - Math.log2(order[id]!);
    const off = Math.abs(age - Math.round(age));
    if (!(off <= AGE_TOLERANCE)) return unreadable(`a token in its state has the age ${age}`);
    ages.set(id, Math.round(age));
    margin = Math.max(margin, off);
  }
  return { ages, margin };
}

/** The third group is a sum of taps: 8 for the last token, 1 for the oldest that the convolution reaches. */
function readLags(
  window: Float64Array,
): { lags: Map<number, readonly number[]>; margin: number } | Unreadable {
  const masks = integersOf(window);
  if (masks === null || masks.integers.some((mask) => mask >= 2 ** D_CONV))
    return unreadable('its convolution window is not a sum of single tokens');
  const lags = new Map<number, readonly number[]>();
  masks.integers.forEach((mask, id) => {
    const seen = Array.from({ length: D_CONV }, (_, lag) => lag).filter(
      (lag) => (mask >> (D_CONV - 1 - lag)) & 1,
    );
    if (seen.length > 0) lags.set(id, seen);
  });
  return { lags, margin: masks.margin };
}
