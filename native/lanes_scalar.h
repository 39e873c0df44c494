/*
 * 16 logical float lanes in plain C++: the reference of the wrappers. lanes_avx2.h and lanes_avx512.h have the same
 * functions with the same bits; a new instruction set writes one more such header. Names that end in N touch only
 * the first n lanes' memory, and load zeros elsewhere.
 */
#pragma once
#include <stdint.h>
#include <string.h>

namespace {
#define LANES static inline __attribute__((always_inline))
#define EACH_LANE for (int i = 0; i < 16; i++)

struct V {
  float f[16];
};
struct VI {
  int32_t i[16];
};

LANES V vset(float x) {
  V v;
  EACH_LANE v.f[i] = x;
  return v;
}
LANES V vzero() { return vset(0); }
LANES V vload(const float* p) {
  V v;
  memcpy(v.f, p, 64);
  return v;
}
LANES void vstore(float* p, V v) { memcpy(p, v.f, 64); }
LANES V vloadN(const float* p, int n) {
  V v;
  EACH_LANE v.f[i] = i < n ? p[i] : 0;
  return v;
}
LANES void vstoreN(float* p, V v, int n) { EACH_LANE if (i < n) p[i] = v.f[i]; }

LANES float fromBits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}
LANES uint32_t toBits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}
LANES float fromHalf(uint16_t h) {
  const uint32_t sign = (h & 0x8000u) << 16, rest = h & 0x7fffu;
  if (rest >= 0x7c00) return fromBits(sign | 0x7f800000 | (rest & 0x3ff) << 13);
  if (rest >= 0x0400) return fromBits(sign | ((rest << 13) + 0x38000000));
  const float small = static_cast<float>(rest) * 0x1p-24f; /* exact */
  return fromBits(sign | toBits(small));
}
LANES V vload(const uint16_t* p) {
  V v;
  EACH_LANE v.f[i] = fromHalf(p[i]);
  return v;
}
LANES V vloadN(const uint16_t* p, int n) {
  V v;
  EACH_LANE v.f[i] = i < n ? fromHalf(p[i]) : 0;
  return v;
}
/* Rounded to nearest even; the caller has checked that it fits. */
LANES uint16_t toHalf(float x) {
  const uint32_t bits = toBits(x), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
  if (rest < 0x38800000) { /* below 2^-14 halves are multiples of 2^-24: adding 0.5 rounds to one */
    return static_cast<uint16_t>(sign | (toBits(fromBits(rest) + 0.5f) - 0x3f000000));
  }
  return static_cast<uint16_t>(sign | (rest - 0x38000000 + 0xfff + (rest >> 13 & 1)) >> 13);
}
LANES void vstoreHalfN(uint16_t* p, V v, int n) { EACH_LANE if (i < n) p[i] = toHalf(v.f[i]); }

#define LANEWISE(name, expression)  \
  LANES V name(V a, V b) {          \
    V v;                            \
    EACH_LANE v.f[i] = expression;  \
    return v;                       \
  }
LANEWISE(vadd, a.f[i] + b.f[i])
LANEWISE(vsub, a.f[i] - b.f[i])
LANEWISE(vmul, a.f[i] * b.f[i])
LANEWISE(vdiv, a.f[i] / b.f[i])
/* The second operand if they are equal or one is NaN, as in SSE. */
LANEWISE(vmin, a.f[i] < b.f[i] ? a.f[i] : b.f[i])
LANEWISE(vmax, a.f[i] > b.f[i] ? a.f[i] : b.f[i])
#undef LANEWISE
LANES V vfma(V a, V b, V c) {
  EACH_LANE c.f[i] = __builtin_fmaf(a.f[i], b.f[i], c.f[i]);
  return c;
}
LANES V vneg(V a) {
  EACH_LANE a.f[i] = -a.f[i];
  return a;
}
LANES V vifGreater(V x, V y, V yes, V no) {
  EACH_LANE no.f[i] = x.f[i] > y.f[i] ? yes.f[i] : no.f[i];
  return no;
}
/* |x| < y in every lane; false for NaN. */
LANES bool vallBelow(V x, V y) {
  bool all = true;
  EACH_LANE all &= __builtin_fabsf(x.f[i]) < y.f[i];
  return all;
}
/* Lane i of `yes` where bit i is set. */
LANES V vpick(uint32_t lanes, V yes, V no) {
  EACH_LANE no.f[i] = lanes >> i & 1 ? yes.f[i] : no.f[i];
  return no;
}

/* Pairs (2i, 2i+1): the even one twice, the odd one twice, exchanged; the sign of even lanes turned. */
LANES V vdupEven(V a) {
  EACH_LANE a.f[i] = a.f[i & ~1];
  return a;
}
LANES V vdupOdd(V a) {
  V v;
  EACH_LANE v.f[i] = a.f[i | 1];
  return v;
}
LANES V vswapPairs(V a) {
  V v;
  EACH_LANE v.f[i] = a.f[i ^ 1];
  return v;
}
LANES V vnegEven(V a) {
  EACH_LANE a.f[i] = i & 1 ? a.f[i] : -a.f[i];
  return a;
}

LANES VI vbits(V a) {
  VI v;
  memcpy(&v, &a, 64);
  return v;
}
LANES V vfloat(VI a) {
  V v;
  memcpy(&v, &a, 64);
  return v;
}
LANES int32_t wrapped(uint32_t x) { return static_cast<int32_t>(x); }
LANES VI iset(int32_t x) {
  VI v;
  EACH_LANE v.i[i] = x;
  return v;
}
LANES VI iadd(VI a, VI b) {
  EACH_LANE a.i[i] = wrapped(static_cast<uint32_t>(a.i[i]) + static_cast<uint32_t>(b.i[i]));
  return a;
}
LANES VI isub(VI a, VI b) {
  EACH_LANE a.i[i] = wrapped(static_cast<uint32_t>(a.i[i]) - static_cast<uint32_t>(b.i[i]));
  return a;
}
template <int N> LANES VI ishl(VI a) {
  EACH_LANE a.i[i] = wrapped(static_cast<uint32_t>(a.i[i]) << N);
  return a;
}
template <int N> LANES VI isra(VI a) {
  EACH_LANE a.i[i] = a.i[i] >> N;
  return a;
}
LANES V vconvert(VI a) {
  V v;
  EACH_LANE v.f[i] = static_cast<float>(a.i[i]);
  return v;
}
/* p * 2^n, rounded once, given t = n + 1.5 * 2^23. Half the exponent at a time: the first product is exact. */
LANES V vscale(V p, V, V t) {
  const VI n = isub(vbits(t), iset(0x4b400000));
  const VI half = isra<1>(n);
  const V first = vfloat(ishl<23>(iadd(half, iset(127))));
  const V second = vfloat(ishl<23>(iadd(isub(n, half), iset(127))));
  return vmul(vmul(p, first), second);
}

/* The lanes folded by +8, +4, +2, +1. */
LANES float vfold(V v) {
  for (int half = 8; half > 0; half >>= 1) {
    for (int i = 0; i < half; i++) v.f[i] = v.f[i] + v.f[i + half];
  }
  return v.f[0];
}

/* Hides where a broadcast came from; of use only where there are registers. */
LANES void vopaque(V&) {}

/* Rows become columns. */
LANES void vtranspose(V r[16]) {
  for (int i = 0; i < 16; i++) {
    for (int j = 0; j < i; j++) {
      const float x = r[i].f[j];
      r[i].f[j] = r[j].f[i];
      r[j].f[i] = x;
    }
  }
}

/* Register tiles, see matmul.inl.h and attention.inl.h. */
template <int R> struct Wide { static constexpr int panels = 1; };
constexpr int TILE_ROWS = 4;
constexpr int TILE_PANELS = 1;
template <int R> struct ValueTile { static constexpr int vectors = 1; };
constexpr int PEAK_CHAINS = 1;
}  // namespace
