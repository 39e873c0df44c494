/*
 * 16 float lanes as one zmm register. The functions of lanes_scalar.h, which says what each means.
 */
#pragma once
#include <immintrin.h>
#include <stdint.h>

namespace {
#define LANES static inline __attribute__((always_inline))

typedef __m512 V;
typedef __m512i VI;

LANES __mmask16 firstLanes(int n) { return static_cast<__mmask16>(n >= 16 ? 0xffff : (1u << n) - 1); }

LANES V vzero() { return _mm512_setzero_ps(); }
LANES V vset(float x) { return _mm512_set1_ps(x); }
LANES V vload(const float* p) { return _mm512_loadu_ps(p); }
LANES void vstore(float* p, V v) { _mm512_storeu_ps(p, v); }
LANES V vloadN(const float* p, int n) { return _mm512_maskz_loadu_ps(firstLanes(n), p); }
LANES void vstoreN(float* p, V v, int n) { _mm512_mask_storeu_ps(p, firstLanes(n), v); }
LANES V vload(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
LANES V vloadN(const uint16_t* p, int n) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(firstLanes(n), p));
}
LANES void vstoreHalfN(uint16_t* p, V v, int n) {
  _mm256_mask_storeu_epi16(p, firstLanes(n), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

LANES V vadd(V a, V b) { return _mm512_add_ps(a, b); }
LANES V vsub(V a, V b) { return _mm512_sub_ps(a, b); }
LANES V vmul(V a, V b) { return _mm512_mul_ps(a, b); }
LANES V vdiv(V a, V b) { return _mm512_div_ps(a, b); }
LANES V vfma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
LANES V vneg(V a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
LANES V vmin(V a, V b) { return _mm512_min_ps(a, b); }
LANES V vmax(V a, V b) { return _mm512_max_ps(a, b); }
LANES V vifGreater(V x, V y, V yes, V no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, y, _CMP_GT_OQ), no, yes);
}
LANES bool vallBelow(V x, V y) {
  return _mm512_cmp_ps_mask(_mm512_abs_ps(x), y, _CMP_LT_OQ) == 0xffff;
}
LANES V vpick(uint32_t lanes, V yes, V no) { return _mm512_mask_blend_ps(static_cast<__mmask16>(lanes), no, yes); }

LANES V vdupEven(V a) { return _mm512_moveldup_ps(a); }
LANES V vdupOdd(V a) { return _mm512_movehdup_ps(a); }
LANES V vswapPairs(V a) { return _mm512_permute_ps(a, 0xb1); }
LANES V vnegEven(V a) { return _mm512_mask_xor_ps(a, 0x5555, a, _mm512_set1_ps(-0.0f)); }

LANES VI vbits(V a) { return _mm512_castps_si512(a); }
LANES V vfloat(VI a) { return _mm512_castsi512_ps(a); }
LANES VI iset(int32_t x) { return _mm512_set1_epi32(x); }
LANES VI iadd(VI a, VI b) { return _mm512_add_epi32(a, b); }
LANES VI isub(VI a, VI b) { return _mm512_sub_epi32(a, b); }
template <int N> LANES VI ishl(VI a) { return _mm512_slli_epi32(a, N); }
template <int N> LANES VI isra(VI a) { return _mm512_srai_epi32(a, N); }
LANES V vconvert(VI a) { return _mm512_cvtepi32_ps(a); }
LANES V vscale(V p, V n, V) { return _mm512_scalef_ps(p, n); }

LANES float vfold(V v) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

/* In the compiler's eyes v changes: keeps it from folding a broadcast load into every use. */
LANES void vopaque(V& v) { asm("" : "+v"(v)); }

LANES void vtranspose(V r[16]) {
  V t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 4) { /* 4x4 within each 128-bit part */
    const V a = _mm512_unpacklo_ps(r[i], r[i + 1]), b = _mm512_unpackhi_ps(r[i], r[i + 1]);
    const V c = _mm512_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
    t[i] = _mm512_shuffle_ps(a, c, 0x44);
    t[i + 1] = _mm512_shuffle_ps(a, c, 0xee);
    t[i + 2] = _mm512_shuffle_ps(b, d, 0x44);
    t[i + 3] = _mm512_shuffle_ps(b, d, 0xee);
  }
#pragma GCC unroll 16
  for (int j = 0; j < 4; j++) { /* then the 128-bit parts themselves */
    const V a = _mm512_shuffle_f32x4(t[j], t[j + 4], 0x88), b = _mm512_shuffle_f32x4(t[j], t[j + 4], 0xdd);
    const V c = _mm512_shuffle_f32x4(t[j + 8], t[j + 12], 0x88);
    const V d = _mm512_shuffle_f32x4(t[j + 8], t[j + 12], 0xdd);
    r[j] = _mm512_shuffle_f32x4(a, c, 0x88);
    r[j + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
    r[j + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
    r[j + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
  }
}

/* Register tiles, see matmul.inl.h and attention.inl.h. */
template <int R> struct Wide { static constexpr int panels = R <= 2 ? 8 : 6; };
constexpr int TILE_ROWS = 12;
constexpr int TILE_PANELS = 2;
template <int R> struct ValueTile { static constexpr int vectors = R == 1 ? 8 : 4; };
constexpr int PEAK_CHAINS = 24;
}  // namespace
