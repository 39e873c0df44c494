/** The numbers of the cases of `kernels`: rows that are drawn by a key and a kind (`kernel-inputs.ts`). */
import { mix32, type Random } from '../random.ts';

/**
 * What the numbers of a row are like. `cancelling`: the second half of a row is minus the first, and where sums of
 * products are meant to vanish the weights repeat alike. `scales`: every element has a size of its own.
 */
export const ROW_KINDS = ['plain', 'positive', 'cancelling', 'tiny', 'large', 'scales', 'zero'] as const;
export type RowKind = (typeof ROW_KINDS)[number];

/** A row: its key chooses its numbers. Rows of a scan or convolution are sets of tokens. */
export interface RowSpec {
  readonly key: number;
  readonly kind: RowKind;
}

/** A size: mostly up to 300, odd ones and neighbours of 16 and 64 among them, now and then one above 1024. */
export function drawSize(r: Random, most = 300): number {
  const x = r.below(20);
  const size =
    x === 0 && most >= 300
      ? r.between(301, 1100)
      : x < 5
        ? r.pick([1, 2, 3, 15, 16, 17, 31, 63, 64, 65, 127, 128, 130, 256])
        : x < 12
          ? r.between(1, 70)
          : r.between(1, 300);
  return x === 0 ? size : Math.min(size, most);
}

export function even(n: number): number {
  return n + (n & 1);
}

/** 2^a and 2^b: sizes of tiny and large numbers. */
export type Span = readonly [tiny: number, large: number];

/** The numbers of one case. */
export class Numbers {
  readonly #seed: number;

  constructor(seed: number) {
    this.#seed = seed;
  }

  /** 32 bits of (name, row). */
  hash(name: number, row: number): number {
    return mix32(mix32(this.#seed + name * 0x9e3779b1) ^ row);
  }

  /** n floats of a row; `half` if F16 must be able to hold them. */
  row(name: number, { key, kind }: RowSpec, n: number, [tiny, large]: Span, half = false): Float32Array {
    const at = this.hash(name, key);
    const out = new Float32Array(n);
    const mirror = kind === 'cancelling' ? Math.ceil(n / 2) : n;
    for (let i = 0; i < n; i++) {
      if (i >= mirror) out[i] = -out[i - mirror]!;
      else out[i] = unit(mix32(at + i)) * sizeOf(kind, at - i - 1, tiny, large);
      if (kind === 'positive') out[i] = Math.abs(out[i]!);
      if (half) out[i] = toEleven(out[i]!);
    }
    return out;
  }

  /** Rows one behind the other. */
  rows(name: number, specs: readonly RowSpec[], n: number, span: Span, half = false): Float32Array {
    const out = new Float32Array(specs.length * n);
    for (const [r, spec] of specs.entries()) out.set(this.row(name, spec, n, span, half), r * n);
    return out;
  }

  /** Plain rows 0 .. rows-1. */
  plain(name: number, rows: number, n: number, half = false): Float32Array {
    const specs = Array.from({ length: rows }, (_, key) => ({ key, kind: 'plain' as const }));
    return this.rows(name, specs, n, SMALL, half);
  }
}

/** In (-1, 1), and never zero. */
function unit(h: number): number {
  return (h - 2147483647.5) / 2147483648;
}

/** What a number in (-1, 1) is multiplied by; `salt` chooses a size of its own. */
function sizeOf(kind: RowKind, salt: number, tiny: number, large: number): number {
  switch (kind) {
    case 'tiny':
      return 2 ** tiny;
    case 'large':
      return 2 ** large;
    case 'scales':
      return 2 ** (tiny + (mix32(salt) % (large - tiny + 1)));
    case 'zero':
      return 0;
    default:
      return 1;
  }
}

/** Rounded to 11 significant bits, and to multiples of 2^-24: what F16 holds, for sizes up to 2^15. */
function toEleven(x: number): number {
  const size = Math.abs(x);
  if (size === 0) return 0;
  const step = Math.max(2 ** (Math.floor(Math.log2(size)) - 10), 2 ** -24);
  return Math.round(x / step) * step;
}

export const SMALL: Span = [-12, 4];

/** Tokens of each set as rows of their own. */
export function tokenRows(rows: readonly RowSpec[], tokens: number): RowSpec[] {
  return rows.flatMap(({ key, kind }) =>
    Array.from({ length: tokens }, (_, t) => ({ key: mix32(key + t * 0x10001) >>> 8, kind })),
  );
}
