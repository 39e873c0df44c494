/**
 * Rows put together by hand, for tests of decoders and of what is made of their readings: the layout of each probe is
 * written here a second time, so that a decoder that reads a wrong place is seen. Nothing of the product uses this file.
 */
import type { Probe } from './types.ts';

/** Ids as often as they are listed. */
export type Ids = readonly number[];

/** A row whose last `n_embd` logits show a state with one dim of ballast. */
class MadeRow {
  readonly row: Float64Array;
  readonly #from: number;

  constructor(probe: Probe, n_embd: number) {
    this.row = new Float64Array(probe.n_vocab);
    this.#from = probe.n_vocab - n_embd;
    this.row[probe.n_vocab - 1] = Math.sqrt(n_embd);
  }

  add(dim: number, x: number): void {
    this.row[this.#from + dim]! += x;
  }

  /** Codes of ids, each times `scale`, with `n_dims` dims a digit of base 4. */
  codes(at: number, n_dims: number, ids: Ids, scale: number): void {
    for (const id of ids) this.add(at + (id % n_dims), scale * 4 ** Math.floor(id / n_dims));
  }

  /** A mean of codes and the mass behind it. */
  mean(at: number, n_dims: number, ids: Ids, mass = 1): void {
    this.codes(at, n_dims, ids, mass / ids.length);
    if (ids.length > 0) this.add(at + n_dims, mass);
  }
}

/** gemma2, gemma3: width 128, 41 dims a region. */
export function windowRow(probe: Probe, own: number, local: Ids, global: Ids): Float64Array {
  const made = new MadeRow(probe, 128);
  made.codes(0, 41, [own], 1);
  // The norm behind attention scales each region by itself.
  made.mean(41, 41, local, 3.5);
  made.mean(83, 41, global, 0.25);
  return made.row;
}

/** A one-hot state: tokens, oldest first, and what the convolution holds, last token first. */
export interface MadeState {
  readonly ids: Ids;
  readonly lags?: Ids;
  /** Ages other than those of the order of `ids`. */
  readonly ages?: Ids;
}

/** `jamba`: width 256, 50 dims a region: own code, count, order, convolution, attention. */
export function hybridRow(probe: Probe, own: number, set: Ids, { ids, lags, ages }: MadeState): Float64Array {
  const made = new MadeRow(probe, 256);
  made.codes(0, 50, [own], 1);
  ids.forEach((id, k) => {
    made.codes(50, 50, [id], 1);
    made.codes(100, 50, [id], 2 ** -(ages?.[k] ?? ids.length - 1 - k));
  });
  const window = lags ?? [...ids].reverse().slice(0, 4);
  window.forEach((id, lag) => {
    made.codes(150, 50, [id], 2 ** (3 - lag));
  });
  made.mean(200, 50, set);
  return made.row;
}

/** Token shifts of the time mix and of the channel mix; default: the token before. */
export interface MadeShifts {
  readonly time?: Ids;
  readonly channel?: Ids;
}

/**
 * `rwkv6`: width 320: own code (62), heads of count and order (62, all, nothing), token shifts (62 each); then Z and
 * the pair of ballast. All of it lies off zero, as a layer norm leaves it.
 */
export function rwkvRow(
  probe: Probe,
  own: number,
  { ids, ages }: MadeState,
  shifts: MadeShifts = {},
): Float64Array {
  const made = new MadeRow(probe, 320);
  const before = ids.slice(-2, -1);
  made.codes(0, 62, [own], 1);
  made.mean(62, 62, ids, 5.5);
  const weights = ids.map((_, k) => 2 ** (1 - (ages?.[k] ?? ids.length - 1 - k)));
  ids.forEach((id, k) => {
    made.codes(126, 62, [id], 0.7 * weights[k]!);
  });
  made.add(126 + 62, 0.7 * weights.reduce((sum, w) => sum + w, 0));
  // The norm of a head takes its mean away; the channel that stays zero says what it was.
  for (let d = 62; d < 126; d++) made.add(d, -0.4);
  for (let d = 126; d < 190; d++) made.add(d, 0.3);
  made.codes(190, 62, shifts.time ?? before, 1);
  made.codes(252, 62, shifts.channel ?? before, 1);
  const { row } = made;
  const scale = 2 ** -16;
  for (let d = 0; d < 320; d++) row[row.length - 320 + d] = (row[row.length - 320 + d]! - 0.01) * scale;
  row[row.length - 2] = Math.sqrt(160) * scale;
  row[row.length - 1] = -Math.sqrt(160) * scale;
  return row;
}
