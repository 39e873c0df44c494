/*
 * Matrix products by the bit contract: lanes go across 16 outputs, each sum runs in index order in blocks of 64
 * terms, one fma at a time from zero; block sums are added in order. How many rows and panels share a register tile
 * changes no bit, since no sum meets another.
 *
 * Few rows read their activations where they lie and take many panels at once. Many rows are first packed into units
 * of 12, [k][12], so that a tile reads one stream; half weights are then widened once a panel.
 */
#pragma once

namespace {

constexpr int BLOCK = 64;
constexpr int UNIT = 12;
constexpr int FEW_ROWS = 4;

/* Activations of R rows where they lie. */
template <int R> struct RowsInPlace {
  const float* row[R];
  LANES float at(const RowsInPlace& x, int r, long k) { return x.row[r][k]; }
};
/* Activations of a unit, from its row `first` on (part of the pointer). */
struct RowsPacked {
  const float* unit;
  LANES float at(const RowsPacked& x, int r, long k) { return x.unit[k * UNIT + r]; }
};

/*
 * R rows times P panels of k terms, `next` elements from panel to panel. The sum of row r and panel p goes to
 * sums + r * rowStep + p * 16, which also holds the total while there are more blocks.
 */
template <int R, int P, class X, class W>
LANES void tile(const X x, const W* w, long next, int k, float* sums, long rowStep) {
  for (int begin = 0; begin < k || begin == 0; begin += BLOCK) {
    const int end = least(k, begin + BLOCK);
    V acc[R][P];
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 8
      for (int p = 0; p < P; p++) acc[r][p] = vzero();
    }
    const W* term = w + static_cast<long>(begin) * 16;
    for (long i = begin; i < end; i++, term += 16) {
      V wide[P];
#pragma GCC unroll 8
      for (int p = 0; p < P; p++) wide[p] = vload(term + p * next);
#pragma GCC unroll 12
      for (int r = 0; r < R; r++) {
        V b = vset(X::at(x, r, i));
        vopaque(b);
#pragma GCC unroll 8
        for (int p = 0; p < P; p++) acc[r][p] = vfma(b, wide[p], acc[r][p]);
      }
    }
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 8
      for (int p = 0; p < P; p++) {
        float* total = sums + r * rowStep + p * 16;
        vstore(total, begin == 0 ? acc[r][p] : vadd(vload(total), acc[r][p]));
      }
    }
  }
}

/* R rows in place times all panels, as many at once as registers allow; sums as in `tile`. */
template <int R, class W>
void fewRows(const RowsInPlace<R>& x, const W* w, int panels, int k, float* sums, long rowStep) {
  constexpr int WIDE = Wide<R>::panels;
  const long next = static_cast<long>(k) * 16;
  int p = 0;
  for (; p + WIDE <= panels; p += WIDE) tile<R, WIDE>(x, w + p * next, next, k, sums + p * 16, rowStep);
  if constexpr (WIDE > 4) {
    if (p + 4 <= panels) {
      tile<R, 4>(x, w + p * next, next, k, sums + p * 16, rowStep);
      p += 4;
    }
  }
  if constexpr (WIDE > 2) {
    if (p + 2 <= panels) {
      tile<R, 2>(x, w + p * next, next, k, sums + p * 16, rowStep);
      p += 2;
    }
  }
  for (; p < panels; p++) tile<R, 1>(x, w + p * next, next, k, sums + p * 16, rowStep);
}

/* What happens to a sum: bias, old value, zeros behind column n, store. */
struct Product {
  float* dst;
  long dstStride;
  const int32_t* rowMap;
  const float* bias;
  int n, store;
  bool add;

  LANES void put(const Product& m, int row, int panel, V sum) {
    const int c = panel * 16;
    float* to = m.dst + (m.rowMap ? m.rowMap[row] : row) * m.dstStride + c;
    if (c + 16 <= m.n) {
      if (m.bias) sum = vadd(sum, vload(m.bias + c));
      if (m.add) sum = vadd(sum, vload(to));
      vstore(to, sum);
    } else {
      const int live = m.n - c;
      if (m.bias) sum = vadd(sum, vloadN(m.bias + c, live));
      if (m.add) sum = vadd(sum, vloadN(to, live));
      vstoreN(to, firstN(sum, live), m.store - c);
    }
  }
};

template <int R, class W>
void fewRowsProduct(const Product& m, const float* src, long stride, const W* w, int panels, int k) {
  RowsInPlace<R> x;
  for (int r = 0; r < R; r++) x.row[r] = src + r * stride;
  float* sums = scratch.get<float>(0, static_cast<size_t>(R) * panels * 16);
  fewRows<R>(x, w, panels, k, sums, panels * 16L);
  for (int r = 0; r < R; r++) {
    for (int p = 0; p < panels; p++, sums += 16) Product::put(m, r, p, vload(sums));
  }
}

/* Packs `rows` <= 12 rows of k floats as [k][12]; writes 4 floats beyond the end. */
void packUnit(const float* src, long stride, int rows, int k, float* unit) {
  for (int k0 = 0; k0 < k; k0 += 16) {
    const int n = least(16, k - k0);
    V v[16];
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) v[r] = r < rows ? vloadN(src + r * stride + k0, n) : vzero();
    vtranspose(v);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
      if (i < n) vstore(unit + static_cast<long>(k0 + i) * UNIT, v[i]);
    }
  }
}

template <int R, int P>
void packedTile(const Product& m, const float* unit, const float* w, int k, int row, int panel) {
  alignas(64) float sums[R * P * 16];
  tile<R, P>(RowsPacked{unit}, w, static_cast<long>(k) * 16, k, sums, P * 16);
#pragma GCC unroll 1
  for (int i = 0; i < R * P; i++) Product::put(m, row + i / P, panel + i % P, vload(sums + i * 16));
}

/* `rows` rows of a unit times P panels, in equal parts of at most TILE_ROWS. */
template <int P>
void unitPanels(const Product& m, const float* unit, int rows, const float* w, int k, int row, int panel) {
  const int parts = (rows + TILE_ROWS - 1) / TILE_ROWS;
  for (int i = 0, done = 0; i < parts; i++) {
    const int now = (rows - done + parts - i - 1) / (parts - i);
    const float* x = unit + done;
    const int at = row + done;
    switch (now) {
#define IB_ROWS(R) \
  case R:          \
    if constexpr (R <= TILE_ROWS) packedTile<R, P>(m, x, w, k, at, panel); \
    break;
      IB_ROWS(1) IB_ROWS(2) IB_ROWS(3) IB_ROWS(4) IB_ROWS(5) IB_ROWS(6)
      IB_ROWS(7) IB_ROWS(8) IB_ROWS(9) IB_ROWS(10) IB_ROWS(11) IB_ROWS(12)
#undef IB_ROWS
    }
    done += now;
  }
}

/* Rows packed in units of nearly equal size. */
struct Units {
  const float* packed;
  int n, small, larger; /* the first `larger` units have small + 1 rows */

  int rows(int u) const { return small + (u < larger); }
};

template <int P> void allUnits(const Product& m, const Units& units, const float* w, int k, int panel) {
  const float* unit = units.packed;
  for (int u = 0, row = 0; u < units.n; u++, unit += static_cast<long>(k) * UNIT) {
    unitPanels<P>(m, unit, units.rows(u), w, k, row, panel);
    row += units.rows(u);
  }
}

/* Panels of floats as they are; panels of halves widened into scratch. */
inline const float* widened(const float* w, long) { return w; }
inline const float* widened(const uint16_t* w, long n) {
  float* wide = scratch.get<float>(1, static_cast<size_t>(n));
  for (long i = 0; i < n; i += 16) vstore(wide + i, vload(w + i));
  return wide;
}

template <class W>
void manyRowsProduct(const Product& m, const float* src, long stride, int rows, const W* w, int panels, int k) {
  const int n = (rows + UNIT - 1) / UNIT;
  float* packed = scratch.get<float>(0, static_cast<size_t>(n) * k * UNIT + 16);
  const Units units = {packed, n, rows / n, rows % n};
  for (int u = 0; u < n; u++, packed += static_cast<long>(k) * UNIT) {
    packUnit(src, stride, units.rows(u), k, packed);
    src += units.rows(u) * stride;
  }
  const long next = static_cast<long>(k) * 16;
  int p = 0;
  for (; p + TILE_PANELS <= panels; p += TILE_PANELS, w += TILE_PANELS * next) {
    allUnits<TILE_PANELS>(m, units, widened(w, TILE_PANELS * next), k, p);
  }
  for (; p < panels; p++, w += next) allUnits<1>(m, units, widened(w, next), k, p);
}

template <class W> void product(const Product& m, const float* src, long stride, int rows, const W* w, int k) {
  const int panels = (m.n + 15) >> 4;
  switch (rows) {
    case 0: return;
    case 1: return fewRowsProduct<1>(m, src, stride, w, panels, k);
    case 2: return fewRowsProduct<2>(m, src, stride, w, panels, k);
    case 3: return fewRowsProduct<3>(m, src, stride, w, panels, k);
    case FEW_ROWS: return fewRowsProduct<FEW_ROWS>(m, src, stride, w, panels, k);
    default: return manyRowsProduct(m, src, stride, rows, w, panels, k);
  }
}

void matmul(const int32_t* a, int rows, const Memory& m) {
  const bool toOut = a[4] == 4; /* SPACE.out */
  const Product target = {
      (toOut ? m.out : m.act) + a[5],
      a[6],
      a[14] < 0 ? nullptr : m.index + a[14],
      a[12] < 0 ? nullptr : m.weight(a[12]),
      a[8],
      a[9],
      a[13] != 0,
  };
  const float* w = m.weight(a[10]);
  if (a[11] == TYPE_F32) product(target, m.act + a[2], a[3], rows, w, a[7]);
  else product(target, m.act + a[2], a[3], rows, reinterpret_cast<const uint16_t*>(w), a[7]);
}

}  // namespace
