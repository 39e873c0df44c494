/**
 * The operators of Mamba-2 with rigorous bounds, as in `kernels-white.ts`: how far a value may be off is carried through
 * the steps, and each step adds its own worst error.
 */
import type { BoundedOutput, SsmGateNormInput, SsmScanHeadsInput } from '../contract/operators.ts';
import type { RoundingProfile } from '../contract/subject.ts';
import {
  exact,
  Kept,
  LOST_EXP,
  normed,
  output,
  plus,
  type Row,
  rowsOf,
  silued,
  times,
} from './kernels-parts.ts';
import { joined, softplus } from './math.ts';
import { TINY32, U32 } from './rounding.ts';
import { type HeadScanInput, placeOf, ssmScanHeads } from './ssm-heads.ts';

export function scannedHeads(input: SsmScanHeadsInput, profile: RoundingProfile): BoundedOutput[] {
  const { n_head, d_head, n_group, d_state, n_seq_tokens } = input;
  const n = n_head * d_head;
  const A = Float64Array.from(input.A);
  const [x, dt] = [rowsOf(input.x, n), rowsOf(input.dt, n_head)];
  const [B, C] = [rowsOf(input.B, d_state * n_group), rowsOf(input.C, d_state * n_group)];
  const results: Row[] = [];
  const next = input.states.map((state, s) => {
    let now = exact(state ?? new Float32Array(d_state * n));
    for (let t = s * n_seq_tokens; t < (s + 1) * n_seq_tokens; t++) {
      const token = { x: x[t]!, dt: dt[t]!, B: B[t]!, C: C[t]! };
      const at = new Kept(profile);
      const scan = ssmScanHeads(now.v, A, [token], n_group, at);
      const after = { v: scan.state, e: stateErrors(now, A, token, n_group, at) };
      results.push({ v: scan.y[0]!, e: outputErrors(after, token, n_head, n_group, at) });
      now = after;
    }
    return now;
  });
  return [output('result', n, results), output('state', d_state * n, next)];
}

/**
 * s' = s E + B (x delta): delta is off by softplus' own error, which moves the exponent of E by |A| as much; E and
 * x delta round once, s is off by what the tokens before have left.
 */
function stateErrors(s: Row, A: Float64Array, token: HeadScanInput, n_group: number, at: Kept): Float64Array {
  const { x, dt, B } = token;
  const d_state = B.length / n_group;
  const soft = at.step('softplus').b;
  return s.v.map((si, i) => {
    const c = Math.floor(i / d_state);
    const { h, g } = placeOf(c, x.length, A.length, n_group);
    const off = soft[h]! + LOST_EXP;
    const decay = Math.exp(softplus(dt[h]!) * A[h]!);
    const own = at.step('decay').b[h]!;
    const decayOff =
      decay * Math.expm1(Math.abs(A[h]!) * off) + own * Math.exp(Math.abs(A[h]!) * off) + LOST_EXP;
    const inputOff = Math.abs(x[c]!) * off * (1 + U32) + at.step('input').b[c]! + TINY32;
    const carried = (Math.abs(si) + s.e[i]!) * decayOff + decay * s.e[i]!;
    const fed = Math.abs(B[(i % d_state) + d_state * g]!) * inputOff;
    return (carried + fed) * (1 + 3 * U32) + at.step('state').b[i]! + 2 * TINY32;
  });
}

function outputErrors(s: Row, token: HeadScanInput, n_head: number, n_group: number, at: Kept): Float64Array {
  const { x, C } = token;
  const d_state = C.length / n_group;
  return x.map((_, c) => {
    const { g } = placeOf(c, x.length, n_head, n_group);
    let carried = 0;
    for (let n = 0; n < d_state; n++) carried += s.e[n + d_state * c]! * Math.abs(C[n + d_state * g]!);
    return carried * (1 + (d_state + 1) * U32) + at.b[c]! + d_state * TINY32;
  });
}

export function gateNormed(input: SsmGateNormInput, profile: RoundingProfile): BoundedOutput[] {
  const { n, n_group, eps } = input;
  const size = n / n_group;
  const weight = Float64Array.from(input.weight);
  const z = rowsOf(input.z, n);
  const x = rowsOf(input.x, n);
  const rows = rowsOf(input.y, n).map((y, r) => {
    const skipped = plus(exact(y), times(exact(input.skip), exact(x[r]!), profile), profile);
    const gated = times(skipped, silued(exact(z[r]!), profile), profile);
    const groups = Array.from({ length: n_group }, (_, g) => {
      const part = (all: Float64Array) => all.slice(g * size, (g + 1) * size);
      return normed({ v: part(gated.v), e: part(gated.e) }, eps, part(weight), profile);
    });
    return { v: joined(groups.map(({ v }) => v)), e: joined(groups.map(({ e }) => e)) };
  });
  return [output('result', n, rows)];
}
