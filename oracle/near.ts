/**
 * Numbers with rigorous error bounds, for operators that are put together from many small steps (`kernels-rwkv.ts`): each
 * operation of float32 adds what it can be off by itself to what its operands are off by. Nothing here is a probability.
 */
import type { RoundingProfile, SumOrder } from '../contract/subject.ts';
import { TINY32, U32 } from './rounding.ts';
import { productKind, sumError } from './sum.ts';

/** A number, and how far a subject's may be from it. */
export interface Near {
  readonly v: number;
  readonly e: number;
}

/** Arithmetic of a subject that rounds as it says. */
export class NearArithmetic {
  readonly #profile: RoundingProfile;

  constructor(profile: RoundingProfile) {
    this.#profile = profile;
  }

  exact(v: number): Near {
    return { v, e: 0 };
  }

  /** v, that was off by e before it was rounded `times` times. */
  rounded(v: number, e: number, times = 1): Near {
    return { v, e: e + times * (U32 * (Math.abs(v) + e) + TINY32) };
  }

  plus(a: Near, b: Near): Near {
    return this.rounded(a.v + b.v, a.e + b.e);
  }

  minus(a: Near, b: Near): Near {
    return this.rounded(a.v - b.v, a.e + b.e);
  }

  times(a: Near, b: Near): Near {
    const { v, e } = product(a, b);
    return this.rounded(v, e);
  }

  /** a b + c, with one rounding where products are fused. */
  fma(a: Near, b: Near, c: Near): Near {
    const ab = this.#profile.fma ? product(a, b) : this.times(a, b);
    return this.rounded(ab.v + c.v, ab.e + c.e);
  }

  /** Of a number that cannot be negative, whatever its error. */
  root(a: Near): Near {
    const v = Math.sqrt(a.v);
    return this.rounded(v, Math.min(Math.sqrt(a.e), v > 0 ? a.e / v : Number.POSITIVE_INFINITY));
  }

  /** 1 / a for a > 0 whose error is smaller than a. */
  reciprocal(a: Near): Near {
    return this.rounded(1 / a.v, a.e / (a.v * (a.v - a.e)));
  }

  /** The sum of terms in an order; `products`: each is the exact product of two operands. */
  total(terms: readonly Near[], order: SumOrder, products: boolean): Near {
    const size = Float64Array.from(terms, ({ v, e }) => Math.abs(v) + e);
    const kind = products ? productKind(this.#profile) : 'numbers';
    const { b } = sumError(size, size.length, order, kind);
    const v = terms.reduce((sum, t) => sum + t.v, 0);
    const e = terms.reduce((sum, t) => sum + t.e, 0);
    return { v, e: e + b + (terms.length + 1) * TINY32 };
  }

  /** Sums of a matrix product, and over a row. */
  get orders(): { readonly products: SumOrder; readonly rows: SumOrder } {
    return this.#profile;
  }
}

/** The exact product. */
export function product(a: Near, b: Near): Near {
  return { v: a.v * b.v, e: Math.abs(a.v) * b.e + Math.abs(b.v) * a.e + a.e * b.e };
}
