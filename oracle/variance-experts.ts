/** The carry rule of a mixture of experts (`experts.ts`), as that of attention: it keeps what the softmax cancels. */
import { type Carried, type Collected, REACH, rowOf, SCORE_ERROR } from './carried.ts';
import { expertWeights, weightedSum } from './experts.ts';
import { softmax } from './math.ts';

/** An error of logit j moves the sum by w_j (row_j - sum); `rows` are those of the chosen experts. */
export function carriedMixture(
  logits: Carried,
  chosen: readonly number[],
  rows: readonly Carried[],
  at: Collected,
): Carried {
  const atWeight = at.step('weight');
  const [atShare, atSum] = [atWeight.step('share'), atWeight.step('sum')];
  const weight = expertWeights(logits.v, chosen, atWeight);
  const out = weightedSum(
    weight,
    rows.map(({ v }) => v),
    at,
  );
  const p = softmax(logits.v);
  const sum = chosen.reduce((total, e) => total + p[e]!, 0);
  const relativeSum = atSum.variance(0) / (sum * sum);
  const s = out.map((o, i) => {
    let carry = at.variance(i) + o * o * relativeSum;
    chosen.forEach((e, j) => {
      const [w, y] = [weight[j]!, rows[j]!.v[i]!];
      const share = atShare.variance(e) / (sum * sum);
      carry += w * w * rows[j]!.s[i]! + (y - o) ** 2 * (w * w * logits.s[e]! + share);
      carry += y * y * atWeight.variance(e);
    });
    return carry;
  });
  const mixed = rowOf(out, s, logits, ...rows);
  const ill = chosen.some((e) => REACH * Math.sqrt(logits.s[e]!) > SCORE_ERROR);
  return ill ? { ...mixed, ill } : mixed;
}
