/** The bounded operators (`kernels-white.ts`) of experts. */
import type { BoundedOutput, ExpertMatmulInput, ExpertSumInput, RouteInput } from '../contract/operators.ts';
import type { RoundingProfile } from '../contract/subject.ts';
import { expertWeights, sharing, weightedSum } from './experts.ts';
import {
  exact,
  Kept,
  LOST_EXP,
  matrixOf,
  multiplied,
  output,
  plus,
  type Row,
  rowsOf,
} from './kernels-parts.ts';
import { joined, softmax } from './math.ts';
import { pointwise } from './pointwise.ts';
import { TINY32, U32 } from './rounding.ts';
import { largest } from './routes.ts';

/**
 * Logits are given, so what is chosen is certain. A share that is off by e, of a sum that is off by E, makes a quotient
 * that is off by (e + w E) / (sum - E), and the division rounds.
 */
export function routed(input: RouteInput, profile: RoundingProfile): BoundedOutput[] {
  const { n_expert, n_used, shares } = input;
  const rows = rowsOf(input.logits, n_expert).map((logits) => {
    const chosen = largest(logits, n_used);
    const at = new Kept(profile);
    if (shares === 'sigmoid') {
      const v = pointwise(
        'sigmoid',
        Float64Array.from(chosen, (e) => logits[e]!),
        at,
      );
      return {
        v: joined([Float64Array.from(chosen), v]),
        e: joined([new Float64Array(n_used), Float64Array.from(at.b)]),
      };
    }
    const v = expertWeights(logits, chosen, at, shares);
    const over = sharing(logits, chosen, shares);
    const share = at.step('share').b;
    const p = softmax(logits);
    const sum = over.reduce((total, e) => total + p[e]!, 0);
    // What underflows is lost, also where it is divided by the sum over all experts.
    const off = (e: number) => share[e]! + LOST_EXP * sum;
    const total = over.reduce((all, e) => all + off(e), 0) + at.step('sum').b[0]!;
    const e = v.map(
      (w, j) => ((off(chosen[j]!) + w * total) / (sum - total)) * (1 + U32) + at.b[chosen[j]!]! + TINY32,
    );
    return { v: joined([Float64Array.from(chosen), v]), e: joined([new Float64Array(n_used), e]) };
  });
  return [output('result', 2 * n_used, rows)];
}

export function expertProduct(input: ExpertMatmulInput, profile: RoundingProfile): BoundedOutput[] {
  const { k, n, type, per_slot, experts } = input;
  const w = matrixOf(input.w, k, type === 'F16');
  const x = rowsOf(input.x, k);
  const rows = experts.flatMap((chosen, r) =>
    chosen.map((e, s): Row => {
      const data = w.data.subarray(e * k * n, (e + 1) * k * n);
      return multiplied({ ...w, n_out: n, data }, x[per_slot ? r * chosen.length + s : r]!, profile);
    }),
  );
  return [output('result', n, rows)];
}

export function expertsAdded(input: ExpertSumInput, profile: RoundingProfile): BoundedOutput[] {
  const { n, n_used } = input;
  const x = rowsOf(input.x, n);
  const old = rowsOf(input.old, n);
  const rows = old.map((_, r) => {
    const weight = Float64Array.from({ length: n_used }, (_, s) => input.weights?.[r * n_used + s] ?? 1);
    const at = new Kept(profile);
    const v = weightedSum(weight, x.slice(r * n_used, (r + 1) * n_used), at);
    return plus({ v, e: v.map((_, i) => at.b[i]! + n_used * TINY32) }, exact(old[r]!), profile);
  });
  return [output('result', n, rows)];
}
