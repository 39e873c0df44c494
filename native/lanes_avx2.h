/*
 * 16 float lanes as two ymm registers (AVX2, FMA, F16C). The functions of lanes_scalar.h, which says what each means.
 */
#pragma once
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

namespace {
#define LANES static inline __attribute__((always_inline))

struct V {
  __m256 a, b;
};
struct VI {
  __m256i a, b;
};

LANES __m256i firstLanes(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
LANES __m256 lanesOf(uint32_t mask) {
  const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i set = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(mask)), bit);
  return _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, bit));
}

LANES V vzero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
LANES V vset(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
LANES V vload(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
LANES void vstore(float* p, V v) {
  _mm256_storeu_ps(p, v.a);
  _mm256_storeu_ps(p + 8, v.b);
}
LANES V vloadN(const float* p, int n) {
  return {_mm256_maskload_ps(p, firstLanes(n)), _mm256_maskload_ps(p + 8, firstLanes(n - 8))};
}
LANES void vstoreN(float* p, V v, int n) {
  _mm256_maskstore_ps(p, firstLanes(n), v.a);
  _mm256_maskstore_ps(p + 8, firstLanes(n - 8), v.b);
}
LANES V vload(const uint16_t* p) {
  const __m128i* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
LANES V vloadN(const uint16_t* p, int n) {
  uint16_t full[16] = {};
  memcpy(full, p, static_cast<size_t>(n < 16 ? n : 16) * 2);
  return vload(full);
}
LANES void vstoreHalfN(uint16_t* p, V v, int n) {
  uint16_t full[16];
  __m128i* q = reinterpret_cast<__m128i*>(full);
  _mm_storeu_si128(q, _mm256_cvtps_ph(v.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  _mm_storeu_si128(q + 1, _mm256_cvtps_ph(v.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  memcpy(p, full, static_cast<size_t>(n < 16 ? n : 16) * 2);
}

LANES V vadd(V a, V b) { return {_mm256_add_ps(a.a, b.a), _mm256_add_ps(a.b, b.b)}; }
LANES V vsub(V a, V b) { return {_mm256_sub_ps(a.a, b.a), _mm256_sub_ps(a.b, b.b)}; }
LANES V vmul(V a, V b) { return {_mm256_mul_ps(a.a, b.a), _mm256_mul_ps(a.b, b.b)}; }
LANES V vdiv(V a, V b) { return {_mm256_div_ps(a.a, b.a), _mm256_div_ps(a.b, b.b)}; }
LANES V vfma(V a, V b, V c) { return {_mm256_fmadd_ps(a.a, b.a, c.a), _mm256_fmadd_ps(a.b, b.b, c.b)}; }
LANES V vneg(V a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_xor_ps(a.a, sign), _mm256_xor_ps(a.b, sign)};
}
LANES V vmin(V a, V b) { return {_mm256_min_ps(a.a, b.a), _mm256_min_ps(a.b, b.b)}; }
LANES V vmax(V a, V b) { return {_mm256_max_ps(a.a, b.a), _mm256_max_ps(a.b, b.b)}; }
LANES V vifGreater(V x, V y, V yes, V no) {
  return {_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ)),
          _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ))};
}
LANES bool vallBelow(V x, V y) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  const __m256 a = _mm256_cmp_ps(_mm256_andnot_ps(sign, x.a), y.a, _CMP_LT_OQ);
  const __m256 b = _mm256_cmp_ps(_mm256_andnot_ps(sign, x.b), y.b, _CMP_LT_OQ);
  return _mm256_movemask_ps(_mm256_and_ps(a, b)) == 0xff;
}
LANES V vpick(uint32_t lanes, V yes, V no) {
  return {_mm256_blendv_ps(no.a, yes.a, lanesOf(lanes)), _mm256_blendv_ps(no.b, yes.b, lanesOf(lanes >> 8))};
}

LANES V vdupEven(V a) { return {_mm256_moveldup_ps(a.a), _mm256_moveldup_ps(a.b)}; }
LANES V vdupOdd(V a) { return {_mm256_movehdup_ps(a.a), _mm256_movehdup_ps(a.b)}; }
LANES V vswapPairs(V a) { return {_mm256_permute_ps(a.a, 0xb1), _mm256_permute_ps(a.b, 0xb1)}; }
LANES V vnegEven(V a) {
  const __m256 sign = _mm256_setr_ps(-0.0f, 0, -0.0f, 0, -0.0f, 0, -0.0f, 0);
  return {_mm256_xor_ps(a.a, sign), _mm256_xor_ps(a.b, sign)};
}

LANES VI vbits(V a) { return {_mm256_castps_si256(a.a), _mm256_castps_si256(a.b)}; }
LANES V vfloat(VI a) { return {_mm256_castsi256_ps(a.a), _mm256_castsi256_ps(a.b)}; }
LANES VI iset(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
LANES VI iadd(VI a, VI b) { return {_mm256_add_epi32(a.a, b.a), _mm256_add_epi32(a.b, b.b)}; }
LANES VI isub(VI a, VI b) { return {_mm256_sub_epi32(a.a, b.a), _mm256_sub_epi32(a.b, b.b)}; }
template <int N> LANES VI ishl(VI a) { return {_mm256_slli_epi32(a.a, N), _mm256_slli_epi32(a.b, N)}; }
template <int N> LANES VI isra(VI a) { return {_mm256_srai_epi32(a.a, N), _mm256_srai_epi32(a.b, N)}; }
LANES V vconvert(VI a) { return {_mm256_cvtepi32_ps(a.a), _mm256_cvtepi32_ps(a.b)}; }
/* Half the exponent at a time: the first product is exact, the second rounds once. */
LANES V vscale(V p, V, V t) {
  const VI n = isub(vbits(t), iset(0x4b400000));
  const VI half = isra<1>(n);
  const V first = vfloat(ishl<23>(iadd(half, iset(127))));
  const V second = vfloat(ishl<23>(iadd(isub(n, half), iset(127))));
  return vmul(vmul(p, first), second);
}

LANES float vfold(V v) {
  const __m256 eight = _mm256_add_ps(v.a, v.b);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

LANES void vopaque(V& v) {
  asm("" : "+x"(v.a));
  v.b = v.a; /* broadcasts only: one register is enough */
}

LANES void transpose8(__m256 r[8]) {
  __m256 t[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 4) {
    const __m256 a = _mm256_unpacklo_ps(r[i], r[i + 1]), b = _mm256_unpackhi_ps(r[i], r[i + 1]);
    const __m256 c = _mm256_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
    t[i] = _mm256_shuffle_ps(a, c, 0x44);
    t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
    t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
    t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
  }
#pragma GCC unroll 8
  for (int j = 0; j < 4; j++) {
    r[j] = _mm256_permute2f128_ps(t[j], t[j + 4], 0x20);
    r[j + 4] = _mm256_permute2f128_ps(t[j], t[j + 4], 0x31);
  }
}

LANES void vtranspose(V r[16]) {
  __m256 q[4][8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) {
    q[0][i] = r[i].a;
    q[1][i] = r[i + 8].a;
    q[2][i] = r[i].b;
    q[3][i] = r[i + 8].b;
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) transpose8(q[i]);
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) {
    r[i] = {q[0][i], q[1][i]};
    r[i + 8] = {q[2][i], q[3][i]};
  }
}

template <int R> struct Wide { static constexpr int panels = R == 1 ? 4 : R == 2 ? 3 : R == 3 ? 2 : 1; };
constexpr int TILE_ROWS = 6;
constexpr int TILE_PANELS = 1;
template <int R> struct ValueTile { static constexpr int vectors = R == 1 ? 4 : 1; };
constexpr int PEAK_CHAINS = 6;
}  // namespace
