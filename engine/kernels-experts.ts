/** The kernels of experts one by one, as `kernels-white.ts` lays the others out. */
import type { InputOf } from '../contract/operators.ts';
import { DIM, packMatrix, pad16, SHARES, TYPE } from '../native/plan.ts';
import { type Layout, type Read, result, typed, unpadded } from './kernel-layout.ts';

export function route(lay: Layout, { n_expert, n_used, shares: of, rows, logits }: InputOf<'route'>): Read {
  const stride = pad16(n_used);
  const [ids, weights] = [lay.hole(rows * stride), lay.hole(rows * stride)];
  lay.dims[DIM.tokens] = rows;
  lay.plan.route({
    rows: DIM.tokens,
    logits: lay.rows(logits, n_expert),
    logitsStride: pad16(n_expert),
    nExpert: n_expert,
    nUsed: n_used,
    ids,
    weights,
    stride,
    shares: SHARES[of],
  });
  return ({ act }) => {
    const [chosen, shares] = [ids, weights].map((at) => unpadded(act, at, rows, n_used));
    const values = new Float32Array(2 * rows * n_used);
    for (let r = 0; r < rows; r++) {
      values.set(chosen!.subarray(r * n_used, (r + 1) * n_used), 2 * r * n_used);
      values.set(shares!.subarray(r * n_used, (r + 1) * n_used), (2 * r + 1) * n_used);
    }
    return [{ name: 'result', n: 2 * n_used, values }];
  };
}

/** Matrices lie one behind the other, each padded to whole vectors. */
export function expertMatmul(lay: Layout, input: InputOf<'expertMatmul'>): Read {
  const { k, n, n_expert, type, per_slot, x, experts } = input;
  const [rows, nUsed] = [experts.length, experts[0]!.length];
  const packed = Array.from({ length: n_expert }, (_, e) => {
    const w = input.w.subarray(e * k * n, (e + 1) * k * n);
    return lay.weights.put(packMatrix(typed(w, type) as Float32Array, k, n));
  });
  const dst = lay.hole(rows * nUsed * pad16(n));
  lay.dims[DIM.tokens] = rows;
  lay.plan.expertMatmul({
    rows: DIM.tokens,
    nExpert: n_expert,
    nUsed,
    ids: lay.rows(Float32Array.from(experts.flat()), nUsed),
    idsStride: pad16(nUsed),
    src: lay.rows(x, k),
    srcStride: pad16(k),
    perSlot: per_slot,
    dst,
    dstStride: pad16(n),
    k,
    n,
    w: packed[0]!,
    step: (packed[1] ?? packed[0]!) - packed[0]!,
    type: TYPE[type],
  });
  return result(n, rows * nUsed, dst);
}

export function expertSum(lay: Layout, { n, n_used, rows, x, weights, old }: InputOf<'expertSum'>): Read {
  const dst = lay.rows(old, n);
  lay.dims[DIM.tokens] = rows;
  lay.plan.expertSum({
    rows: DIM.tokens,
    src: lay.rows(x, n),
    srcStride: pad16(n),
    weights: weights === null ? -1 : lay.rows(weights, n_used),
    weightsStride: pad16(n_used),
    nUsed: n_used,
    dst,
    dstStride: pad16(n),
    n,
  });
  return result(n, rows, dst);
}
