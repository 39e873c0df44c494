/*
 * Attention in two passes, for groups of queries that share one list of keys.
 *
 * The K rows of a group are gathered, wherever their cells lie, into transposed panels of 16 positions: panel =
 * position >> 4, lane = position & 15, and only panels that occur. A panel then looks like a panel of weights, and
 * scores are a matrix product. Values go by position with lanes across channels. Rows of a tile are pairs of query
 * and head; a key that only some of them see is added for those alone, never as a zero for the others.
 */
#pragma once

namespace {

constexpr int CUT = 256;
enum { SLOT_KEYS = 2, SLOT_VALUES, SLOT_SCORES, SLOT_SUMS, SLOT_LAYOUT, SLOT_POINTERS };

struct Attention {
  int nHead, nHeadKv, d, perKv, type;
  float scale, cap; /* no cap: 0 */
  const float* slopes; /* of ALiBi, by head; none: null */
  const float* q;
  float* dst;
  long qStride, dstStride;
  const float *k, *v;
  const int32_t *groupKey, *groupQuery, *queryRow, *queryBegin, *queryEnd, *keyCell, *keyPos;
};

/* The keys of a group, numbered from 0. */
struct Keys {
  int first, n, panels, cuts;
  int32_t* slot;     /* panel * 16 + lane of a key */
  int32_t* cutBegin; /* first key of each run between positions divisible by 256; cuts + 1 bounds */
  uint32_t* present; /* lanes of a panel that have a key */
  int32_t* base; /* position of lane 0 of a panel */
  float* transposed; /* K of one head: [panel][d][16] */
  const float** value; /* V row of a key for one head, pad16(d) floats */
};

/* One query and head, with its keys and its panels. */
struct Row {
  const float* q;
  float* dst;
  int begin, end;
  float* score; /* of panel 0, lane 0; rows of a tile follow each other */
  float sum;
  float slope; /* 0: scores do not depend on distances */
  int pos;
  float* acc;
  float* total;
};

/* Where each key goes. A position that comes twice (after a division) opens a panel of its own. */
void layOut(const Attention& t, int g, Keys& keys) {
  keys.first = t.groupKey[g];
  keys.n = t.groupKey[g + 1] - keys.first;
  const size_t n = static_cast<size_t>(keys.n);
  keys.slot = scratch.get<int32_t>(SLOT_LAYOUT, n * 4 + 1);
  keys.cutBegin = keys.slot + n;
  keys.present = reinterpret_cast<uint32_t*>(keys.cutBegin + n + 1);
  keys.base = reinterpret_cast<int32_t*>(keys.present + n);
  keys.panels = keys.cuts = 0;
  int panel = -1, lane = 16, cut = -1;
  for (int i = 0; i < keys.n; i++) {
    const int pos = t.keyPos[keys.first + i];
    if (pos >> 8 != cut) {
      cut = pos >> 8;
      keys.cutBegin[keys.cuts++] = i;
    }
    if (pos >> 4 != panel || (pos & 15) <= lane) {
      panel = pos >> 4;
      keys.base[keys.panels] = panel * 16;
      keys.present[keys.panels++] = 0;
    }
    lane = pos & 15;
    keys.present[keys.panels - 1] |= 1u << lane;
    keys.slot[i] = (keys.panels - 1) * 16 + lane;
  }
  keys.cutBegin[keys.cuts] = keys.n;
}

template <class T> const T* cellRow(const Attention& t, const float* base, int key, int head) {
  const long row = static_cast<long>(t.keyCell[key]) * t.nHeadKv + head;
  return reinterpret_cast<const T*>(base) + row * t.d;
}

template <class T> void gatherKeys(const Attention& t, int head, const Keys& keys) {
  const int d = t.d;
  for (int panel = 0, i = 0; panel < keys.panels; panel++) {
    const T* row[16];
    for (int lane = 0; lane < 16; lane++) {
      row[lane] = keys.present[panel] >> lane & 1 ? cellRow<T>(t, t.k, keys.first + i++, head) : nullptr;
    }
    float* to = keys.transposed + static_cast<long>(panel) * d * 16;
    for (int c = 0; c < d; c += 16) {
      const int live = d - c;
      V v[16];
#pragma GCC unroll 16
      for (int lane = 0; lane < 16; lane++) {
        v[lane] = !row[lane] ? vzero() : live < 16 ? vloadN(row[lane] + c, live) : vload(row[lane] + c);
      }
      vtranspose(v);
#pragma GCC unroll 16
      for (int j = 0; j < 16; j++) {
        if (j < live) vstore(to + (c + j) * 16L, v[j]);
      }
    }
  }
}

/* Few rows read whole float vectors where they lie; everything else is packed first. */
template <class T> void gatherValues(const Attention& t, int head, const Keys& keys, int rows) {
  const int d = t.d, padded = pad16(d);
  if (t.type == TYPE_F32 && d == padded && rows < 16) {
    for (int i = 0; i < keys.n; i++) keys.value[i] = cellRow<float>(t, t.v, keys.first + i, head);
    return;
  }
  float* packed = scratch.get<float>(SLOT_VALUES, static_cast<size_t>(keys.n) * padded);
  for (int i = 0; i < keys.n; i++, packed += padded) {
    const T* row = cellRow<T>(t, t.v, keys.first + i, head);
    for (int c = 0; c < d; c += 16) {
      vstore(packed + c, d - c < 16 ? vloadN(row + c, d - c) : vload(row + c));
    }
    keys.value[i] = packed;
  }
}

template <int R> void scores(const Attention& t, const Keys& keys, Row* rows, int firstPanel, int panels) {
  RowsInPlace<R> x;
  for (int r = 0; r < R; r++) x.row[r] = rows[r].q;
  const float* k = keys.transposed + static_cast<long>(firstPanel) * t.d * 16;
  fewRows<R>(x, k, panels, t.d, rows[0].score + firstPanel * 16L, keys.panels * 16L);
}

alignas(64) constexpr float LANE_NUMBERS[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* Sums of q*k become scores (capped, if there is a cap; less what the distance costs, with ALiBi), then exponentials, zero in lanes that the row does not see. */
void softmax(const Attention& t, const Keys& keys, Row& row) {
  const int a = keys.slot[row.begin], b = keys.slot[row.end - 1];
  const auto seen = [&](int panel) __attribute__((always_inline)) {
    uint32_t lanes = keys.present[panel];
    if (panel == a >> 4) lanes &= 0xffffu << (a & 15);
    if (panel == b >> 4) lanes &= 0xffffu >> (15 - (b & 15));
    return lanes;
  };
  const V lowest = vset(-__builtin_inff());
  V best = lowest;
  for (int p = a >> 4; p <= b >> 4; p++) {
    V score = vmul(vload(row.score + p * 16L), vset(t.scale));
    if (t.cap > 0) score = vsoftcap(score, vset(t.cap));
    if (row.slope > 0) {
      const V behind = vadd(vload(LANE_NUMBERS), vset(static_cast<float>(keys.base[p] - row.pos)));
      score = vfma(vset(row.slope), behind, score);
    }
    vstore(row.score + p * 16L, score);
    best = vmax(vpick(seen(p), score, lowest), best);
  }
  float each[16], highest = -__builtin_inff();
  vstore(each, best);
  for (int i = 0; i < 16; i++) highest = each[i] > highest ? each[i] : highest;
  const V maximum = vset(highest);
  V sum = vzero();
  for (int p = a >> 4; p <= b >> 4; p++) {
    const V e = vpick(seen(p), vexp(vsub(vload(row.score + p * 16L), maximum)), vzero());
    vstore(row.score + p * 16L, e);
    sum = vadd(sum, e);
  }
  row.sum = vfold(sum);
}

/* acc of R rows, C vectors from channel c on, over keys [begin, end). */
template <int R, int C> LANES void weighTile(const Keys& keys, Row* rows, int begin, int end, int c) {
  V acc[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 8
    for (int j = 0; j < C; j++) acc[r][j] = vload(rows[r].acc + c + j * 16);
  }
  const float* e[R];
  for (int r = 0; r < R; r++) e[r] = rows[r].score;
  for (int i = begin; i < end; i++) {
    const float* value = keys.value[i] + c;
    const long slot = keys.slot[i];
    V v[C];
#pragma GCC unroll 8
    for (int j = 0; j < C; j++) v[j] = vload(value + j * 16);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      V b = vset(e[r][slot]);
      vopaque(b);
#pragma GCC unroll 8
      for (int j = 0; j < C; j++) acc[r][j] = vfma(b, v[j], acc[r][j]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 8
    for (int j = 0; j < C; j++) vstore(rows[r].acc + c + j * 16, acc[r][j]);
  }
}

template <int R> void weigh(const Keys& keys, Row* rows, int begin, int end, int padded) {
  if (begin >= end) return;
  constexpr int C = ValueTile<R>::vectors;
  int c = 0;
  for (; c + C * 16 <= padded; c += C * 16) weighTile<R, C>(keys, rows, begin, end, c);
  if constexpr (C > 4) {
    for (; c + 64 <= padded; c += 64) weighTile<R, 4>(keys, rows, begin, end, c);
  }
  if constexpr (C > 2) {
    for (; c + 32 <= padded; c += 32) weighTile<R, 2>(keys, rows, begin, end, c);
  }
  for (; c < padded; c += 16) weighTile<R, 1>(keys, rows, begin, end, c);
}

/* Values of R rows: cut by cut, the keys that all see together, the others row by row, always in key order. */
template <int R> void values(const Keys& keys, Row* rows, int padded) {
  for (int cut = 0; cut < keys.cuts; cut++) {
    const int low = keys.cutBegin[cut], high = keys.cutBegin[cut + 1];
    int begin[R], end[R], from = low, to = high;
    for (int r = 0; r < R; r++) {
      begin[r] = most(low, rows[r].begin);
      end[r] = least(high, rows[r].end);
      from = most(from, begin[r]);
      to = least(to, end[r]);
    }
    if (from >= to) from = to = -1;
    for (int r = 0; r < R; r++) {
      if (begin[r] >= end[r]) continue;
      memset(rows[r].acc, 0, static_cast<size_t>(padded) * 4);
      weigh<1>(keys, rows + r, begin[r], from < 0 ? end[r] : from, padded);
    }
    if (from >= 0) {
      weigh<R>(keys, rows, from, to, padded);
      for (int r = 0; r < R; r++) weigh<1>(keys, rows + r, to, end[r], padded);
    }
    for (int r = 0; r < R; r++) {
      if (begin[r] >= end[r]) continue;
      const bool isFirst = begin[r] == rows[r].begin;
      for (int c = 0; c < padded; c += 16) {
        const V acc = vload(rows[r].acc + c);
        vstore(rows[r].total + c, isFirst ? acc : vadd(vload(rows[r].total + c), acc));
      }
    }
  }
}

template <int R> void rowsOfTile(const Attention& t, const Keys& keys, Row* rows) {
  const int padded = pad16(t.d);
  int low = keys.panels, high = -1;
  for (int r = 0; r < R; r++) {
    low = least(low, keys.slot[rows[r].begin] >> 4);
    high = most(high, keys.slot[rows[r].end - 1] >> 4);
  }
  scores<R>(t, keys, rows, low, high - low + 1);
  for (int r = 0; r < R; r++) softmax(t, keys, rows[r]);
  values<R>(keys, rows, padded);
  for (int r = 0; r < R; r++) {
    const V sum = vset(rows[r].sum);
    for (int c = 0; c < t.d; c += 16) {
      const V y = vdiv(vload(rows[r].total + c), sum);
      if (t.d - c < 16) vstoreN(rows[r].dst + c, y, t.d - c);
      else vstore(rows[r].dst + c, y);
    }
  }
}

/* All queries of a group with the heads that share K and V head `head`. */
void groupHead(const Attention& t, const Keys& keys, int g, int head) {
  const int padded = pad16(t.d);
  const long scoreSize = keys.panels * 16L;
  float* score = scratch.get<float>(SLOT_SCORES, static_cast<size_t>(scoreSize) * FEW_ROWS);
  float* sums = scratch.get<float>(SLOT_SUMS, static_cast<size_t>(padded) * 2 * FEW_ROWS);
  Row rows[FEW_ROWS];
  int n = 0;
  const auto flush = [&] {
    switch (n) {
      case 1: rowsOfTile<1>(t, keys, rows); break;
      case 2: rowsOfTile<2>(t, keys, rows); break;
      case 3: rowsOfTile<3>(t, keys, rows); break;
      case 4: rowsOfTile<4>(t, keys, rows); break;
    }
    n = 0;
  };
  for (int j = t.groupQuery[g]; j < t.groupQuery[g + 1]; j++) {
    const long row = t.queryRow[j];
    for (int h = head * t.perKv; h < (head + 1) * t.perKv; h++) {
      float* dst = t.dst + row * t.dstStride + static_cast<long>(h) * t.d;
      if (t.queryBegin[j] >= t.queryEnd[j]) {
        memset(dst, 0, static_cast<size_t>(t.d) * 4);
        continue;
      }
      rows[n] = {t.q + row * t.qStride + static_cast<long>(h) * t.d,
                 dst,
                 t.queryBegin[j] - keys.first,
                 t.queryEnd[j] - keys.first,
                 score + n * scoreSize,
                 0,
                 t.slopes ? t.slopes[h] : 0.0f,
                 t.keyPos[t.queryEnd[j] - 1],
                 sums + 2L * n * padded,
                 sums + (2L * n + 1) * padded};
      if (++n == FEW_ROWS) flush();
    }
  }
  flush();
}

void attention(const int32_t* a, int groups, const Memory& m) {
  const int32_t* at = m.index + a[13];
  const Attention t = {a[6], a[7], a[8], a[6] / a[7], a[11], asFloat(a[12]), asFloat(a[14]),
                       a[15] < 0 ? nullptr : m.weight(a[15]), m.act + a[2],
                       m.act + a[4], a[3], a[5], m.state(a[9]), m.state(a[10]), m.index + at[0], m.index + at[1],
                       m.index + at[2], m.index + at[3], m.index + at[4], m.index + at[5], m.index + at[6]};
  const int width = t.nHead * t.d;
  for (int g = 0; g < groups; g++) {
    Keys keys;
    layOut(t, g, keys);
    const int rows = (t.groupQuery[g + 1] - t.groupQuery[g]) * t.perKv;
    keys.transposed = scratch.get<float>(SLOT_KEYS, static_cast<size_t>(keys.panels) * t.d * 16);
    keys.value = scratch.get<const float*>(SLOT_POINTERS, static_cast<size_t>(keys.n));
    for (int head = 0; head < t.nHeadKv; head++) {
      if (t.type == TYPE_F32) {
        gatherKeys<float>(t, head, keys);
        gatherValues<float>(t, head, keys, rows);
      } else {
        gatherKeys<uint16_t>(t, head, keys);
        gatherValues<uint16_t>(t, head, keys, rows);
      }
      groupHead(t, keys, g, head);
    }
    for (int j = t.groupQuery[g]; j < t.groupQuery[g + 1]; j++) {
      memset(t.dst + t.queryRow[j] * t.dstStride + width, 0, static_cast<size_t>(pad16(width) - width) * 4);
    }
  }
}

}  // namespace
