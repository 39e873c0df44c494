/** The carry rule of Mamba-2's scan (`variance.ts`). */
import { type Carried, type Collected, rowOf } from './carried.ts';
import { softplus } from './math.ts';
import type { Scanned, ScanToken } from './operators.ts';
import { placeOf, ssmScanHeads } from './ssm-heads.ts';

/**
 * s' = s E + B (x delta), y = sum s' C. What a channel has in common moves all its states at once, so what it does to y
 * is added up before it is squared: delta (through E and x delta), the rounding of E, x, and the rounding of x delta.
 */
export function carriedHeads(
  state: Carried,
  A: Float64Array,
  token: ScanToken<Carried>,
  n_group: number,
  at: Collected,
): Scanned<Carried> {
  const { x, dt, B, C } = token;
  const scan = ssmScanHeads(state.v, A, [{ x: x.v, dt: dt.v, B: B.v, C: C.v }], n_group, at);
  const y = scan.y[0]!;
  const now = scan.state;
  const d_state = B.v.length / n_group;
  const [atSoftplus, atDecay] = [at.step('softplus'), at.step('decay')];
  const [atInput, atState] = [at.step('input'), at.step('state')];
  const s = new Float64Array(now.length);
  const out = new Float64Array(y.length);
  for (let c = 0; c < y.length; c++) {
    const { h, g } = placeOf(c, y.length, A.length, n_group);
    const delta = softplus(dt.v[h]!);
    const slope = dt.v[h]! > 20 ? 1 : 1 / (1 + Math.exp(-dt.v[h]!));
    const decay = Math.exp(delta * A[h]!);
    const input = x.v[c]! * delta;
    const deltaVariance = slope * slope * dt.s[h]! + atSoftplus.variance(h);
    const decayVariance = atDecay.variance(h);
    const inputVariance = delta * delta * x.s[c]! + atInput.variance(c);
    let carry = at.variance(c);
    let [yByDelta, yByDecay, yByInput] = [0, 0, 0];
    for (let n = 0; n < d_state; n++) {
      const i = n + d_state * c;
      const [b, bVariance] = [B.v[n + d_state * g]!, B.s[n + d_state * g]!];
      const [to, toVariance] = [C.v[n + d_state * g]!, C.s[n + d_state * g]!];
      const old = state.v[i]!;
      const byDelta = old * decay * A[h]! + b * x.v[c]!;
      const alone = decay * decay * state.s[i]! + input * input * bVariance + atState.variance(i);
      s[i] = alone + byDelta * byDelta * deltaVariance + old * old * decayVariance + b * b * inputVariance;
      yByDelta += to * byDelta;
      yByDecay += to * old;
      yByInput += to * b;
      carry += to * to * alone + now[i]! * now[i]! * toVariance;
    }
    out[c] =
      carry +
      yByDelta * yByDelta * deltaVariance +
      yByDecay * yByDecay * decayVariance +
      yByInput * yByInput * inputVariance;
  }
  const from = [state, x, dt, B, C];
  return { y: rowOf(y, out, ...from), state: rowOf(now, s, ...from) };
}
