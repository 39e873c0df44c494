/**
 * The state of RWKV (spec: probes.md 7 and architectures.md 9). Value j of a head is the token's own code, key and
 * receptance are 1 in channel 0 and nothing else, so that row 0 of the head's state is a sum of codes: without decay
 * the count of all tokens since the start, with decay 1/2 their order. In the latter the present token counts twice
 * (`time_mix_first`), since a state takes it in after the output: a token of age a weighs 2^(1-a) from age 0 on.
 *
 * The norm of each head loses its scale. A channel that always gets 1 and one that never gets anything give it back:
 * the first holds the sum of all weights, so a head reads like attention, as a mean of codes (`mean.ts`).
 *
 * Token shifts: the gate of a third head, whose normed value is a bias of 1, looks at the token before; so does the key
 * of the channel mix. Layer norms take the mean away: the ballast is a pair of opposite dims, and every reading is a
 * difference to a dim Z that is always zero. All other interpolations are 0, so nothing else looks back.
 *
 * It cannot see: tokens that are all counted the same number of times too often; ages beyond 14; positions.
 */
import { f32, u32 } from '../recipe-parts.ts';
import { type Code, countsOf, dimOf, idsOf, integersOf, weightOf } from './codes.ts';
import {
  BALLAST,
  Chosen,
  type Frame,
  probeFile,
  type Setter,
  tokenOf,
  unreadable,
  vocabOf,
  withOwn,
} from './construction.ts';
import { readMean } from './mean.ts';
import type { HeldState, Row, StateProbe, StateReading, Unreadable } from './types.ts';

/** Channels of a head: codes, the constant, the one that stays zero. */
const HEAD = 64;
const P = HEAD - 2;
const LORA = 8;
const N_FF = 64;
/** SiLU is the identity in float32 from here on, and 1 the sigmoid. */
const G = 32;
/** Beyond this age a token is too light beside the others. */
export const OLDEST = 14;
const AGE_TOLERANCE = 0.1;

/** Heads by number; further ones are idle. */
const COUNT = 0;
const ORDER = 1;
const SHIFT = 2;

export function rwkv6State(name: string, n_digits: 1 | 5): StateProbe {
  const full = n_digits === 1;
  // Regions: own code, one a head, the channel mix; Z and the ballast. A multiple of the head size.
  const n_embd = full ? 5 * HEAD : 3 * HEAD;
  const frame: Frame = { n_embd, code: { n_dims: P, n_digits } };
  const n_ids = idsOf(frame.code);
  return {
    name,
    reads: 'state',
    arch: 'rwkv6',
    memory: 'recurrent',
    describe: `${full ? 'count, order and token shifts' : 'count'} of ${n_ids} tokens in a state: rwkv6, 1 layer, width ${n_embd}`,
    n_ids,
    n_vocab: vocabOf(frame),
    token: tokenOf,
    build: () => build(name, frame, full),
    read: (row) => readState(row, frame, full),
  };
}

/** The dims at the end: always zero, and the two of the ballast. */
const endOf = (n_embd: number) => ({ zero: n_embd - 3, plus: n_embd - 2, minus: n_embd - 1 });
/** Where a head writes; the channel mix writes behind the last one. */
const region = (head: number): number => P + head * HEAD;
const mixRegion = P + 2 * HEAD + P;
/** What a layer norm divides by. */
const scaleOf = (n_embd: number): number => BALLAST * Math.sqrt(2 / n_embd);

/** Puts weights from normed dims to a channel. */
class Reader {
  readonly #n_embd: number;

  constructor(n_embd: number) {
    this.#n_embd = n_embd;
  }

  /** The channel gets a constant: half the difference of the ballast. */
  constant(set: Setter, to: number, value: number): void {
    const { plus, minus } = endOf(this.#n_embd);
    const half = value / 2 / Math.sqrt(this.#n_embd / 2);
    set(plus, to, half);
    set(minus, to, -half);
  }

  /** The channel gets `value` times a dim, relative to the one that is zero. */
  dim(set: Setter, from: number, to: number, value: number): void {
    const w = value * scaleOf(this.#n_embd);
    set(from, to, w);
    set(endOf(this.#n_embd).zero, to, -w);
  }
}

function build(name: string, frame: Frame, full: boolean): Uint8Array {
  const { n_embd } = frame;
  const chosen = new Chosen();
  addFrame(chosen, frame);
  for (const norm of ['attn_norm', 'attn_norm_2']) {
    chosen.filled(`blk.0.${norm}.weight`, 1, n_embd);
    chosen.zeros(`blk.0.${norm}.bias`, n_embd);
  }
  addTimeMix(chosen, n_embd, full);
  addChannelMix(chosen, n_embd, full);
  return probeFile(
    'rwkv6',
    name,
    frame,
    [
      ['rwkv6.feed_forward_length', u32(N_FF)],
      ['rwkv6.attention.head_count', u32(0)],
      ['rwkv6.attention.layer_norm_epsilon', f32(1e-6)],
      ['rwkv6.wkv.head_size', u32(HEAD)],
      ['rwkv6.time_mix_extra_dim', u32(LORA)],
      ['rwkv6.time_decay_extra_dim', u32(LORA)],
      ['rwkv6.rescale_every_n_layers', u32(0)],
    ],
    chosen,
  );
}

/** Embeddings, readers, and the norms around the layer: the first keeps codes as they are, the last makes them so. */
function addFrame(chosen: Chosen, frame: Frame): void {
  const { n_embd, code } = frame;
  const n_vocab = vocabOf(frame);
  const { plus, minus } = endOf(n_embd);
  const embd = chosen.zeros('token_embd.weight', n_embd, n_vocab);
  for (let token = 0; token < n_vocab; token++) {
    embd[token * n_embd + plus] = BALLAST;
    embd[token * n_embd + minus] = -BALLAST;
  }
  for (let id = 0; id < idsOf(code); id++) embd[tokenOf(id) * n_embd + dimOf(code, id)] = weightOf(code, id);
  chosen.filled('token_embd_norm.weight', scaleOf(n_embd), n_embd);
  chosen.zeros('token_embd_norm.bias', n_embd);
  const norm = chosen.zeros('output_norm.weight', n_embd);
  norm.fill(scaleOf(n_embd));
  norm[plus] = 1;
  norm[minus] = 1;
  chosen.zeros('output_norm.bias', n_embd);
  const read = chosen.matrix('output.weight', n_embd, n_vocab);
  for (let d = 0; d < n_embd; d++) read(d, n_vocab - n_embd + d, 1);
}

function addTimeMix(chosen: Chosen, n_embd: number, full: boolean): void {
  const n_head = n_embd / HEAD;
  const reader = new Reader(n_embd);
  const mix = 'blk.0.time_mix';
  chosen.zeros(`${mix}_w1.weight`, n_embd, 5 * LORA);
  chosen.zeros(`${mix}_w2.weight`, LORA, n_embd, 5);
  for (const part of ['x', 'w', 'k', 'v', 'r']) chosen.zeros(`${mix}_lerp_${part}.weight`, n_embd, 1, 1);
  lookBack(chosen, `${mix}_lerp_g.weight`, n_embd);
  const first = chosen.zeros(`${mix}_first.weight`, HEAD, n_head);
  const decay = chosen.zeros(`${mix}_decay.weight`, n_embd);
  chosen.zeros(`${mix}_decay_w1.weight`, n_embd, LORA);
  chosen.zeros(`${mix}_decay_w2.weight`, LORA, n_embd);
  const key = chosen.matrix(`${mix}_key.weight`, n_embd, n_embd);
  const value = chosen.matrix(`${mix}_value.weight`, n_embd, n_embd);
  const receptance = chosen.matrix(`${mix}_receptance.weight`, n_embd, n_embd);
  const gate = chosen.matrix(`${mix}_gate.weight`, n_embd, n_embd);
  const weight = chosen.zeros(`${mix}_ln.weight`, n_embd);
  const bias = chosen.zeros(`${mix}_ln.bias`, n_embd);
  const output = chosen.matrix(`${mix}_output.weight`, n_embd, n_embd);

  for (const head of full ? [COUNT, ORDER] : [COUNT]) {
    const at = head * HEAD;
    reader.constant(key, at, 1);
    reader.constant(receptance, at, 1);
    first[at] = head === ORDER ? 2 : 1;
    // What a step keeps is exp(-exp(x)): all of it, or half.
    decay[at] = head === ORDER ? Math.log(Math.LN2) : -100;
    for (let j = 0; j < P; j++) reader.dim(value, j, at + j, 1);
    reader.constant(value, at + P, 1);
    for (let j = 0; j < HEAD; j++) {
      weight[at + j] = 1;
      reader.constant(gate, at + j, G);
      output(at + j, region(head) + j, 1 / G);
    }
  }
  if (!full) return;
  for (let j = 0; j < P; j++) {
    const at = SHIFT * HEAD + j;
    bias[at] = 1;
    reader.dim(gate, j, at, G);
    output(at, region(SHIFT) + j, 1 / G);
  }
}

/** The channel mix: the square of the code of the token before, which is 1 or 0. */
function addChannelMix(chosen: Chosen, n_embd: number, full: boolean): void {
  const reader = new Reader(n_embd);
  const mix = 'blk.0.channel_mix';
  lookBack(chosen, `${mix}_lerp_k.weight`, n_embd);
  chosen.zeros(`${mix}_lerp_r.weight`, n_embd, 1, 1);
  const key = chosen.matrix(`${mix}_key.weight`, n_embd, N_FF);
  const value = chosen.matrix(`${mix}_value.weight`, N_FF, n_embd);
  const receptance = chosen.matrix(`${mix}_receptance.weight`, n_embd, n_embd);
  if (!full) return;
  for (let j = 0; j < P; j++) {
    reader.dim(key, j, j, 1);
    value(j, mixRegion + j, 1);
    reader.constant(receptance, mixRegion + j, G);
  }
}

/** An interpolation that takes the code from the token before; the ballast stays, since the first token has none. */
function lookBack(chosen: Chosen, name: string, n_embd: number): void {
  const lerp = chosen.zeros(name, n_embd, 1, 1);
  lerp.fill(1, 0, P);
  lerp[endOf(n_embd).zero] = 1;
}

function readState(row: Row, frame: Frame, full: boolean): StateReading | Unreadable {
  const found = stateOf(row, frame);
  if ('kind' in found) return found;
  const { state, own } = found;
  const seen = headOf(state, COUNT, frame.code);
  if ('kind' in seen) return unreadable('its state is not a sum of whole tokens');
  const { counts, margin } = seen;
  const none = { ages: null, lags: null, shifts: null, oldest: Number.POSITIVE_INFINITY };
  if (!full) return { kind: 'state', own, counts, ...none, margin };
  const ages = readAges(state, own, counts);
  if ('kind' in ages) return ages;
  const shifts = readShifts(state);
  if ('kind' in shifts) return shifts;
  const held: HeldState = {
    counts,
    ages: ages.ages,
    oldest: OLDEST,
    lags: null,
    shifts: shifts.shifts,
    margin: Math.max(margin, shifts.margin),
  };
  return { kind: 'state', own, ...held };
}

/** As `stateOf` of the other probes, for a layer norm: differences to Z, in units of the codes. */
function stateOf(row: Row, frame: Frame) {
  const { n_embd, code } = frame;
  if (row.length !== vocabOf(frame))
    return unreadable(`it has ${row.length} logits, the probe has ${vocabOf(frame)}`);
  if (row.every((x) => x === 0)) return unreadable('all its logits are 0', true);
  const raw = row.subarray(row.length - n_embd);
  const { zero, plus, minus } = endOf(n_embd);
  const scale = (raw[plus]! - raw[minus]!) / 2 / Math.sqrt(n_embd / 2);
  if (!Number.isFinite(scale) || scale <= 0)
    return unreadable(`its ballast is ${raw[plus]} and ${raw[minus]}, which no token of the probe has`);
  return withOwn(
    Float64Array.from(raw, (x) => (x - raw[zero]!) / scale),
    code,
  );
}

/** Codes of a head relative to the channel that stays zero, and the constant one. */
function channelsOf(state: Float64Array, head: number): { codes: Float64Array; all: number } {
  const at = region(head);
  const nothing = state[at + P + 1]!;
  return { codes: state.slice(at, at + P).map((x) => x - nothing), all: state[at + P]! - nothing };
}

function headOf(state: Float64Array, head: number, code: Code) {
  const { codes, all } = channelsOf(state, head);
  return readMean(codes, all, code);
}

/** Of tokens that are there once, by their weight beside that of the token itself, whose age is 0. */
function readAges(
  state: Float64Array,
  own: number,
  counts: ReadonlyMap<number, number>,
): { ages: Map<number, number> | null } | Unreadable {
  const { codes } = channelsOf(state, ORDER);
  if (counts.get(own) !== 1) return { ages: null };
  const ages = new Map<number, number>();
  for (let id = 0; id < P; id++) {
    const age = 0 - Math.log2(codes[id]! / codes[own]!);
    const count = counts.get(id) ?? 0;
    // Too light, or not there.
    if (!(age < OLDEST + 0.5)) continue;
    if (count === 0) return unreadable('its state has an order, but no count, of a token');
    if (count !== 1) continue;
    if (Math.abs(age - Math.round(age)) > AGE_TOLERANCE)
      return unreadable(`a token in its state has the age ${age}`);
    ages.set(id, Math.round(age) + 0);
  }
  return { ages };
}

function readShifts(state: Float64Array): { shifts: Map<string, number[]>; margin: number } | Unreadable {
  const shifts = new Map<string, number[]>();
  let margin = 0;
  for (const [name, at] of [
    ['time mix', region(SHIFT)],
    ['channel mix', mixRegion],
  ] as const) {
    const code: Code = { n_dims: P, n_digits: 1 };
    const found = integersOf(state.subarray(at, at + P));
    if (found === null) return unreadable(`the token shift of its ${name} holds no whole token`);
    shifts.set(name, [...countsOf(code, found.integers)!.keys()]);
    margin = Math.max(margin, found.margin);
  }
  return { shifts, margin };
}
