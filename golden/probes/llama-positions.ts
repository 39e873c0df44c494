/**
 * Positions (spec: probes.md 3): the model of `llama-set`, one dim an id, with constant q and k in one rotated pair of
 * every head, turned against each other by a quarter. The score of a key is 8 sin(0.01 distance), so the ratio of two
 * weights says how far away each key lies, by the positions that were really applied.
 *
 * Distances are read relative to the query itself, which is at distance 0: a query and its own key that are rotated
 * wrongly in the same way show at the other keys. The sine turns at 157 positions. A key that is seen twice seems to
 * lie 9 positions further away, so the set is to be checked first. All keys of one position are equal here, so scores
 * that were made with another sequence's keys of the same positions do not show.
 */
import { idsOf } from './codes.ts';
import { type Frame, stateOf, tokenOf, unreadable, vocabOf } from './construction.ts';
import { attentionFrame, copyingLlama, llamaFile, N_HEAD } from './llama-set.ts';
import type { PositionProbe, PositionReading, Row, Unreadable } from './types.ts';

const N_EMBD = 256;
/** Scores reach from -8 to 8. */
const RANGE = 8;
/** Angle of one position in the pair d/4: 10000^(-1/2). */
const STEP = 0.01;
/** Weight of a key (relative to the query's own) below which there is none: a visible one has at least e^-8. */
const LEAST = Math.exp(-RANGE) / 2;
/** The sine is steep enough up to here: half precision of K moves a distance by less than a tenth. */
export const MAX_DISTANCE = 126;

export function llamaPositions(name: string): PositionProbe {
  const frame = attentionFrame(N_EMBD, 1);
  const n_ids = idsOf(frame.code);
  return {
    name,
    reads: 'positions',
    arch: 'llama',
    memory: 'attention',
    describe: `how far away a query saw each of ${n_ids} keys: llama, 1 layer, width ${N_EMBD}`,
    n_ids,
    n_vocab: vocabOf(frame),
    token: tokenOf,
    build: () => build(name, frame),
    read: (row) => readPositions(row, frame),
  };
}

function build(name: string, frame: Frame): Uint8Array {
  const { chosen, q, k } = copyingLlama(frame);
  const d = N_EMBD / N_HEAD;
  const pair = d / 2;
  const a = Math.sqrt(RANGE * Math.sqrt(d)) / Math.sqrt(N_EMBD);
  for (let head = 0; head < N_HEAD; head++) {
    k(N_EMBD - 1, head * d + pair, a);
    q(N_EMBD - 1, head * d + pair + 1, -a);
  }
  return llamaFile(name, frame, chosen);
}

function readPositions(row: Row, frame: Frame): PositionReading | Unreadable {
  const P = frame.code.n_dims;
  const found = stateOf(row, frame);
  if ('kind' in found) return found;
  const { state, own } = found;
  const seen = state.subarray(P, 2 * P);
  const self = seen[own]!;
  if (!(self > 0)) return unreadable('its query did not see itself, so there is nothing to measure from');
  const distances = new Map<number, number>();
  let margin = 0;
  for (let id = 0; id < P; id++) {
    const ratio = seen[id]! / self;
    if (id === own || Math.abs(ratio) < LEAST) continue;
    const sine = Math.log(ratio) / RANGE;
    if (!(Math.abs(sine) <= 1)) return unreadable(`the weight of a key is ${ratio} of its own`);
    const distance = Math.asin(sine) / STEP;
    distances.set(id, distance);
    margin = Math.max(margin, Math.abs(distance - Math.round(distance)));
  }
  return { kind: 'positions', own, distances, margin };
}
