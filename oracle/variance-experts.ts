/** The carry rule of a mixture of experts (`experts.ts`), as that of attention: it keeps what the softmax cancels. */
import { type Carried, type Collected, REACH, rowOf, SCORE_ERROR } from './carried.ts';
import { expertWeights, plainSum, type Shares, sharing, weightedSum } from './experts.ts';
import { softmax } from './math.ts';

/**
 * An error of logit j moves the sum by w_j (row_j - sum), w_j being its share of those that are shared among, and row_j
 * zero where it was not chosen; `rows` are those of the chosen experts.
 */
export function carriedMixture(
  logits: Carried,
  chosen: readonly number[],
  rows: readonly Carried[],
  at: Collected,
  shares: Shares,
): Carried {
  const atWeight = at.step('weight');
  const [atShare, atSum] = [atWeight.step('share'), atWeight.step('sum')];
  const weight = expertWeights(logits.v, chosen, atWeight, shares);
  const out = weightedSum(
    weight,
    rows.map(({ v }) => v),
    at,
  );
  const p = softmax(logits.v);
  const over = sharing(logits.v, chosen, shares);
  const sum = over.reduce((total, e) => total + p[e]!, 0);
  const relativeSum = atSum.variance(0) / (sum * sum);
  const s = out.map((o, i) => {
    let carry = at.variance(i) + o * o * relativeSum;
    for (const e of over) {
      const row = rows[chosen.indexOf(e)];
      const [w, y] = [p[e]! / sum, row?.v[i] ?? 0];
      const share = atShare.variance(e) / (sum * sum);
      carry += (y - o) ** 2 * (w * w * logits.s[e]! + share);
      if (row) carry += w * w * row.s[i]! + y * y * atWeight.variance(e);
    }
    return carry;
  });
  const mixed = rowOf(out, s, logits, ...rows);
  const ill = over.some((e) => REACH * Math.sqrt(logits.s[e]!) > SCORE_ERROR);
  return ill ? { ...mixed, ill } : mixed;
}

/** The sum of rows as they are: logits decide which, and no more. */
export function carriedSum(rows: readonly Carried[], at: Collected): Carried {
  const out = plainSum(
    rows.map(({ v }) => v),
    at,
  );
  const s = out.map((_, i) => rows.reduce((sum, row) => sum + row.s[i]!, at.variance(i)));
  return rowOf(out, s, ...rows);
}
