/**
 * The operators of the oracle for comparison with single kernels (spec: verdicts.md 4 and 5, column b): each is put
 * together from the formulas in the grouping of the forward pass, and next to each value stands how far a subject's
 * float32 result may be from it. No probability: the bounds of the steps are added up, times what the later steps make
 * of them.
 *
 * Every step of the formulas says its own worst error b to a site that keeps it. Steps are told the exact values, so
 * where a step rounds a value that is already off by e, its own error grows by as many u as it has, times e. What is
 * below the normal range of float32 is rounded by TINY32, whatever its size.
 */
import type {
  AttentionInput,
  BoundedOperators,
  BoundedOutput,
  InputOf,
  KvStoreInput,
  MatmulInput,
  OperatorInput,
  OperatorName,
  RmsNormInput,
  RopeInput,
  ShortConvInput,
  SsmConvInput,
  SsmScanInput,
} from '../contract/operators.ts';
import type { RwkvInput } from '../contract/operators-rwkv.ts';
import type { RoundingProfile } from '../contract/subject.ts';
import { slopesOf } from './alibi.ts';
import { attend, biased, capped, rootOf, scores } from './attention.ts';
import { geluRow } from './gelu.ts';
import { expertProduct, expertsAdded, routed } from './kernels-experts.ts';
import { gateNormed, scannedHeads } from './kernels-heads.ts';
import {
  exact,
  Kept,
  LOST_EXP,
  matrixOf,
  multiplied,
  normed,
  output,
  plus,
  type Row,
  rowsOf,
  silued,
  times,
} from './kernels-parts.ts';
import { rwkvAnswer } from './kernels-rwkv.ts';
import { type Matrix, noisyHalf, pairOf, type RopeShape, rope, row } from './math.ts';
import { plain } from './operators.ts';
import { scaled } from './pointwise.ts';
import { TINY32, U32 } from './rounding.ts';
import { softcapRow } from './softcap.ts';
import { ssmConv, ssmScan } from './ssm.ts';

/** Sums carry the bound of their order; then bias and old value are added. */
function product(input: MatmulInput, profile: RoundingProfile): BoundedOutput[] {
  const { k, n, type, bias, old } = input;
  const w = matrixOf(input.w, k, type === 'F16');
  const rows = rowsOf(input.x, k).map((x, r) => {
    let y = multiplied(w, x, profile);
    if (bias) y = plus(y, exact(bias), profile);
    if (old) y = plus(y, exact(old.subarray(r * n, (r + 1) * n)), profile);
    return y;
  });
  return [output('result', n, rows)];
}

function norm({ n, eps, x, weight }: RmsNormInput, profile: RoundingProfile): BoundedOutput[] {
  const w = weight ? Float64Array.from(weight) : undefined;
  const rows = rowsOf(x, n).map((row) => normed(exact(row), eps, w, profile));
  return [output('result', n, rows)];
}

/**
 * Relative error of an angle that is computed in double on both sides: its logarithm, below 16, is rounded in the
 * exponent of a power, and the power, two products and the reduction are good to a few units.
 */
const ANGLE64 = 64 * 2 ** -53;

function turned(input: RopeInput, profile: RoundingProfile): BoundedOutput[] {
  const { n_head, n_embd_head, n_rot, freq_base, freq_scale, pos } = input;
  const n = n_head * n_embd_head;
  const shape: RopeShape = { type: input.rope_type, n_embd_head, n_rot, freq_base, freq_scale };
  const rows = rowsOf(input.x, n).map((x, r) => {
    const at = new Kept(profile);
    const v = rope(x, pos[r]!, shape, at);
    const e = new Float64Array(n);
    for (let i = 0; 2 * i < n_rot; i++) {
      const angle = pos[r]! * freq_scale * freq_base ** ((-2 * i) / n_rot);
      const off = (at.step('angle').b[i] ?? 0) + ANGLE64 * Math.abs(angle);
      const cos = at.step('cos').b[i]! + Math.abs(Math.sin(angle)) * off + off * off;
      const sin = at.step('sin').b[i]! + Math.abs(Math.cos(angle)) * off + off * off;
      const [first, second] = pairOf(shape, i);
      for (let head = 0; head < n; head += n_embd_head) {
        const [a, b] = [head + first, head + second];
        const [p, q] = [Math.abs(x[a]!), Math.abs(x[b]!)];
        e[a] = (p * cos + q * sin) * (1 + 3 * U32) + at.b[a]! + 2 * TINY32;
        e[b] = (p * sin + q * cos) * (1 + 3 * U32) + at.b[b]! + 2 * TINY32;
      }
    }
    return { v, e };
  });
  return [output('result', n, rows)];
}

function kept({ n, type, x }: KvStoreInput, profile: RoundingProfile): BoundedOutput[] {
  const memory = plain({ type_kv: type });
  const rows = rowsOf(x, n).map((v, r) => {
    const stored = memory.stored(v, `row ${r}`);
    if (type === 'F32') return exact(stored);
    const at = new Kept(profile);
    return { v: noisyHalf(v, at), e: Float64Array.from(at.b) };
  });
  return [output('result', n, rows)];
}

function attended(input: AttentionInput, profile: RoundingProfile): BoundedOutput[] {
  const { n_head, n_head_kv, n_embd_head, ranges } = input;
  const n = n_head * n_embd_head;
  const [k, v] = [rowsOf(input.k, n_head_kv * n_embd_head), rowsOf(input.v, n_head_kv * n_embd_head)];
  const rows = rowsOf(input.q, n).map((q, j) => {
    const [begin, end] = ranges[j]!;
    if (begin >= end) return exact(new Float64Array(n));
    return query(q, k.slice(begin, end), v.slice(begin, end), input.pos.slice(begin, end), input, profile);
  });
  return [output('result', n, rows)];
}

function query(
  q: Float64Array,
  k: readonly Float64Array[],
  v: readonly Float64Array[],
  pos: readonly number[],
  input: AttentionInput,
  profile: RoundingProfile,
): Row {
  const { n_head, n_head_kv, n_embd_head: d, softcap } = input;
  const alibi =
    input.alibi === undefined
      ? {}
      : { alibi: { slopes: slopesOf(n_head, input.alibi), away: pos.map((p) => pos.at(-1)! - p) } };
  const shape = { n_head, n_head_kv, n_embd_head: d, softcap, ...alibi, half: input.type === 'F16' };
  const at = new Kept(profile);
  const out = attend(q, k, v, shape, at);
  const root = rootOf(shape);
  const cast = at.step('cast').b;
  const e = new Float64Array(out.length);
  for (let head = 0; head < n_head; head++) {
    const kv0 = Math.floor((head * n_head_kv) / n_head) * d;
    // What a query that was rounded to F16 adds to the error of each score.
    const size = (key: Float64Array) => key.subarray(kv0, kv0 + d).map(Math.abs);
    const off = cast.length === 0 ? null : Float64Array.from(cast.slice(head * d, (head + 1) * d));
    const moved = k.map((key) =>
      off ? scores(off, 0, [size(key)], 0, d, root)[0]! * (1 + (d + 3) * U32) : 0,
    );
    const score = biased(capped(scores(q, head * d, k, kv0, d, root), shape, head), shape, head);
    const weights = exponentials(score, moved, head, at, d);
    for (let i = 0; i < d; i++) {
      e[head * d + i] = valueError(weights, v, kv0 + i, out[head * d + i]!, at.b[head * d + i]!);
    }
  }
  return { v: out, e };
}

/** The exponentials of one head, how far each may be off, their sum, and the relative error of adding them up. */
interface Exponentials extends Row {
  readonly sum: number;
  readonly added: number;
}

/**
 * e^(s - max), off by the error of its score (its own, and what has `moved` it) and by that of the exponential. Which score is the largest does not matter, since a common
 * factor cancels in the quotient.
 */
function exponentials(
  score: Float64Array,
  moved: readonly number[],
  head: number,
  at: Kept,
  d: number,
): Exponentials {
  const max = score.reduce((a, b) => Math.max(a, b), -Infinity);
  const v = score.map((s) => Math.exp(s - max));
  const sum = v.reduce((a, b) => a + b, 0);
  const e = v.map((y, j) => {
    const place = head * score.length + j;
    const off = at.step('score').b[place]! + moved[j]! + (d + 1) * TINY32;
    // A cap moves nothing by more than it was moved before, but for its own error (none without a cap); nor does a bias.
    const own = (at.step('cap').b[place] ?? 0) + (at.step('bias').b[place] ?? 0);
    const shifted = Math.expm1(off * (1 + 9 * U32) + own);
    return y * shifted + at.step('exp').b[place]! * (1 + shifted);
  });
  return { v, e, sum, added: at.step('sum').b[head]! / sum };
}

/**
 * Of out = sum w v / sum w. Weights that are off by dw move it by sum dw (v - out) / sum (w + dw), and never out of the
 * range of the values. The sum of products and its quotient round by `own`, which grows as sum (w + dw) |v| does; the
 * sum of weights by a relative error.
 */
function valueError(
  w: Exponentials,
  values: readonly Float64Array[],
  channel: number,
  out: number,
  own: number,
): number {
  let moved = 0;
  let grown = 0;
  let loose = 0;
  let size = 0;
  let far = 0;
  for (let j = 0; j < values.length; j++) {
    const value = values[j]![channel]!;
    moved += w.e[j]! * Math.abs(value - out);
    grown += w.e[j]! * Math.abs(value);
    loose += w.e[j]!;
    size += w.v[j]! * Math.abs(value);
    far = Math.max(far, Math.abs(value - out));
  }
  const least = w.sum - loose;
  const shifted = least > 0 ? Math.min(far, moved / least) : far;
  const wider = least > 0 && size > 0 ? (own * (grown + size)) / size / (least / w.sum) : own;
  const before = shifted + wider + (values.length + 1) * TINY32;
  return before + ((Math.abs(out) + before) * w.added) / (1 - w.added);
}

function convolved(input: SsmConvInput, profile: RoundingProfile): BoundedOutput[] {
  const { n, d_conv, n_seq_tokens, states } = input;
  const w = matrixOf(input.w, d_conv, false);
  const x = rowsOf(input.x, n);
  const bias = exact(input.bias);
  const results: Row[] = [];
  const next = states.map((state, s) => {
    const old = rowsOf(state ?? new Float32Array((d_conv - 1) * n), n);
    const columns = [...old, ...x.slice(s * n_seq_tokens, (s + 1) * n_seq_tokens)];
    const at = new Kept(profile);
    ssmConv(columns, w, at).forEach((v, t) => {
      const e = v.map((_, c) => at.b[t * n + c]! + d_conv * TINY32);
      results.push(silued(plus({ v, e }, bias, profile), profile));
    });
    return exact(columns.slice(n_seq_tokens).flatMap((column) => [...column]));
  });
  return [output('result', n, results), output('state', (d_conv - 1) * n, next)];
}

/** Columns of b x are rounded once each, so a sum carries their errors beside its own. */
function shortConvolved(input: ShortConvInput, profile: RoundingProfile): BoundedOutput[] {
  const { n, d_conv, n_seq_tokens, states } = input;
  const w = matrixOf(input.w, d_conv, false);
  const [b, gate, x] = [rowsOf(input.b, n), rowsOf(input.gate, n), rowsOf(input.x, n)];
  const bx = x.map((xt, t) => times(exact(b[t]!), exact(xt), profile));
  const results: Row[] = [];
  const next = states.map((state, s) => {
    const old = rowsOf(state ?? new Float32Array((d_conv - 1) * n), n).map(exact);
    const columns = [...old, ...bx.slice(s * n_seq_tokens, (s + 1) * n_seq_tokens)];
    const at = new Kept(profile);
    ssmConv(
      columns.map(({ v }) => v),
      w,
      at,
    ).forEach((v, t) => {
      const e = v.map((_, c) => {
        let carried = 0;
        for (let k = 0; k < d_conv; k++) carried += Math.abs(w.data[c * d_conv + k]!) * columns[t + k]!.e[c]!;
        return carried * (1 + 2 * d_conv * U32) + at.b[t * n + c]! + d_conv * TINY32;
      });
      results.push(times(exact(gate[s * n_seq_tokens + t]!), { v, e }, profile));
    });
    const kept = columns.slice(n_seq_tokens);
    const joined = (of: 'v' | 'e') => Float64Array.from(kept.flatMap((column) => [...column[of]]));
    return { v: joined('v'), e: joined('e') };
  });
  return [output('result', n, results), output('state', (d_conv - 1) * n, next)];
}

function scanned(input: SsmScanInput, profile: RoundingProfile): BoundedOutput[] {
  const { n, d_state, n_seq_tokens } = input;
  const A = matrixOf(input.A, d_state, false);
  const [x, dt] = [rowsOf(input.x, n), rowsOf(input.dt, n)];
  const [B, C] = [rowsOf(input.B, d_state), rowsOf(input.C, d_state)];
  const results: Row[] = [];
  const next = input.states.map((state, s) => {
    let now = exact(state ?? new Float32Array(d_state * n));
    for (let t = s * n_seq_tokens; t < (s + 1) * n_seq_tokens; t++) {
      const token = { x: x[t]!, dt: dt[t]!, B: B[t]!, C: C[t]! };
      const at = new Kept(profile);
      const scan = ssmScan(now.v, A, [token], at);
      const after = { v: scan.state, e: stateErrors(now, A, token, at) };
      results.push({ v: scan.y[0]!, e: outputErrors(after, token.C, at) });
      now = after;
    }
    return now;
  });
  return [output('result', n, results), output('state', d_state * n, next)];
}

/**
 * s' = s E + B x delta with E = e^(delta A): delta is off by softplus' own error, which moves the exponent by |A| as
 * much; s is off by what the tokens before have left.
 */
function stateErrors(
  s: Row,
  A: Matrix,
  token: { x: Float64Array; dt: Float64Array; B: Float64Array },
  at: Kept,
) {
  const d_state = A.n_in;
  const soft = at.step('softplus').b;
  return s.v.map((si, i) => {
    const c = Math.floor(i / d_state);
    const off = soft[c]! + LOST_EXP;
    const delta = token.dt[c]! > 20 ? token.dt[c]! : Math.log1p(Math.exp(token.dt[c]!));
    const exponent = delta * A.data[i]!;
    const reach = Math.abs(si) + s.e[i]!;
    const decayed = Math.exp(exponent) * (reach * Math.expm1(Math.abs(A.data[i]!) * off) + s.e[i]!);
    const fed = Math.abs(token.B[i % d_state]! * token.x[c]!) * off;
    const units = (Math.abs(exponent) + 4) * U32;
    return (decayed + fed) * (1 + units) + at.step('state').b[i]! * (1 + units) + reach * LOST_EXP;
  });
}

function outputErrors(s: Row, C: Float64Array, at: Kept): Float64Array {
  return Float64Array.from(at.b, (b, c) => {
    let carried = 0;
    for (let i = 0; i < C.length; i++) carried += s.e[c * C.length + i]! * Math.abs(C[i]!);
    return carried * (1 + (C.length + 1) * U32) + b + C.length * TINY32;
  });
}

/** Operators of RWKV, whose rows and states have one way to be answered. */
function ofRwkv(input: RwkvInput, profile: RoundingProfile): BoundedOutput[] {
  const { n, rows, states } = rwkvAnswer(input, profile);
  const result = output('result', n, rows);
  return states === undefined ? [result] : [result, output('state', states[0]?.v.length ?? 0, states)];
}
/** From here on the exponential of GELU is infinite in float32 and GELU is zero; what is lost is below 10 e^-88. */
const GELU_END = -9.9;
const LOST_GELU = 2 ** -121;

const OPERATORS: {
  readonly [Op in OperatorName]: (input: InputOf<Op>, profile: RoundingProfile) => BoundedOutput[];
} = {
  embed({ n, table, tokens, type }) {
    const w = matrixOf(table, n, type === 'F16');
    const rows = tokens.map((token) => exact(row(w, token)));
    return [output('result', n, rows)];
  },
  rmsNorm: norm,
  headNorm({ n_head, n_embd_head: n, rows, eps, x, weight }, profile) {
    const [heads] = norm({ op: 'rmsNorm', n, rows: rows * n_head, eps, x, weight }, profile);
    return [{ ...heads!, n: n_head * n }];
  },
  matmul: product,
  rope: turned,
  kvStore: kept,
  attention: attended,
  siluMul({ n, gate, up }, profile) {
    return [output('result', n, [times(silued(exact(gate), profile), exact(up), profile)])];
  },
  route: routed,
  expertMatmul: expertProduct,
  expertSum: expertsAdded,
  geluMul({ n, gate, up }, profile) {
    const at = new Kept(profile);
    const v = geluRow(Float64Array.from(gate), at);
    const e = v.map((_, i) => at.b[i]! + (gate[i]! < GELU_END ? LOST_GELU : TINY32));
    return [output('result', n, [times({ v, e }, exact(up), profile)])];
  },
  scaleRows({ n, factor, x }, profile) {
    const at = new Kept(profile);
    const v = scaled(Float64Array.from(x), factor, at);
    return [output('result', n, [{ v, e: v.map((_, i) => (at.b[i] ?? 0) + TINY32) }])];
  },
  timesEach({ n, times: n_times, x, by }, profile) {
    const rows = rowsOf(x, n).flatMap((row, r) =>
      Array.from({ length: n_times }, (_, s) =>
        times(exact(row), exact(row.map(() => by[r * n_times + s]!)), profile),
      ),
    );
    return [output('result', n, rows)];
  },
  normAdd(input, profile) {
    const [normed] = norm({ ...input, op: 'rmsNorm' }, profile);
    const sum = plus(exact(input.old), { v: normed!.values, e: normed!.bounds }, profile);
    return [output('result', input.n, [sum])];
  },
  capOutputs({ n, cap, x }, profile) {
    const at = new Kept(profile);
    const v = softcapRow(Float64Array.from(x), cap, at);
    return [output('result', n, [{ v, e: Float64Array.from(at.b) }])];
  },
  ssmConv: convolved,
  shortConv: shortConvolved,
  ssmScan: scanned,
  ssmGate({ n, y, x, z, skip }, profile) {
    const tiled = exact(x.map((_, i) => skip[i % n]!));
    const skipped = plus(exact(y), times(tiled, exact(x), profile), profile);
    return [output('result', n, [times(skipped, silued(exact(z), profile), profile)])];
  },
  ssmScanHeads: scannedHeads,
  ssmGateNorm: gateNormed,
  layerNorm: ofRwkv,
  tokenShift: ofRwkv,
  lerp: ofRwkv,
  pointwise: ofRwkv,
  gatedAdd: ofRwkv,
  wkv6: ofRwkv,
  wkv7: ofRwkv,
  wkv7Keys: ofRwkv,
  wkv7Output: ofRwkv,
};

export const boundedOperators: BoundedOperators = {
  run(profile, input) {
    const run = OPERATORS[input.op] as (input: OperatorInput, profile: RoundingProfile) => BoundedOutput[];
    return run(input, profile);
  },
};
