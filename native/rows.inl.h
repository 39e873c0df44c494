/*
 * The operations that work row by row; what each computes is said in plan.ts. The last vector of a row is masked, so
 * that zeros stay behind the last column whatever the operands are.
 */
#pragma once

namespace {

/* to[0..n) = n elements of `type`, widened, from element `first` behind p; zeros up to the next whole vector. */
void loadRow(float* to, const float* p, long first, int type, int n) {
  const float* wide = p + first;
  const uint16_t* half = reinterpret_cast<const uint16_t*>(p) + first;
  for (int c = 0; c < n; c += 16) {
    const int live = n - c;
    if (type == TYPE_F32) vstore(to + c, live < 16 ? vloadN(wide + c, live) : vload(wide + c));
    else vstore(to + c, live < 16 ? vloadN(half + c, live) : vload(half + c));
  }
}

void embed(const int32_t* a, int rows, const Memory& m) {
  for (int r = 0; r < rows; r++) {
    const long first = static_cast<long>(m.index[a[8] + r]) * a[5];
    loadRow(m.act + a[2] + static_cast<long>(r) * a[3], m.weight(a[4]), first, a[6], a[7]);
  }
}

/* 1 / sqrt(mean of squares + eps) of n floats. */
float rmsScale(const float* x, int n, float eps) {
  V squares = vzero();
  for (int c = 0; c < n; c += 16) {
    const V v = n - c < 16 ? vloadN(x + c, n - c) : vload(x + c);
    squares = vfma(v, v, squares);
  }
  const float mean = vfold(squares) / static_cast<float>(n);
  return 1.0f / __builtin_sqrtf(mean + eps);
}

void rmsNorm(const int32_t* a, int rows, const Memory& m) {
  const int n = a[6];
  const float eps = asFloat(a[8]);
  const float* weight = a[7] < 0 ? nullptr : m.weight(a[7]);
  for (int r = 0; r < rows; r++) {
    const float* from = m.act + a[2] + static_cast<long>(r) * a[3];
    float* to = m.act + a[4] + static_cast<long>(r) * a[5];
    const V s = vset(rmsScale(from, n, eps));
    for (int c = 0; c < n; c += 16) {
      V y = vmul(vload(from + c), s);
      if (weight) y = vmul(y, vload(weight + c));
      vstore(to + c, firstN(y, n - c));
    }
  }
}

/* The last vector of a head is masked: the next head begins behind it. */
void headNorm(const int32_t* a, int rows, const Memory& m) {
  const int nHead = a[4], d = a[5];
  const float eps = asFloat(a[7]);
  const float* weight = a[6] < 0 ? nullptr : m.weight(a[6]);
  for (int r = 0; r < rows; r++) {
    float* x = m.act + a[2] + static_cast<long>(r) * a[3];
    for (int h = 0; h < nHead; h++, x += d) {
      const V s = vset(rmsScale(x, d, eps));
      for (int c = 0; c < d; c += 16) {
        const int live = d - c;
        V y = vmul(live >= 16 ? vload(x + c) : vloadN(x + c, live), s);
        if (weight) y = vmul(y, live >= 16 ? vload(weight + c) : vloadN(weight + c, live));
        if (live >= 16) vstore(x + c, y);
        else vstoreN(x + c, y, live);
      }
    }
  }
}

/* 16 floats are 8 pairs: even lanes fma(x0, cos, -(x1 * sin)), odd lanes fma(x0, sin, x1 * cos). */
LANES V rotated(V x, V table) {
  const V product = vmul(vdupOdd(x), vswapPairs(table));
  return vfma(vdupEven(x), table, vnegEven(product));
}

/* Pairs (2i, 2i+1) of one head. */
LANES void rotateNeighbours(float* x, const float* table, int nRot) {
  int c = 0;
  for (; c + 16 <= nRot; c += 16) vstore(x + c, rotated(vload(x + c), vload(table + c)));
  if (c < nRot) vstoreN(x + c, rotated(vloadN(x + c, nRot - c), vloadN(table + c, nRot - c)), nRot - c);
}

/* Pairs (i, i + nRot/2) of one head: a vector of first channels meets a vector of second ones. */
LANES void rotateHalves(float* x, const float* table, int nRot) {
  const int half = nRot / 2;
  for (int i = 0; i < half; i += 16) {
    const int live = half - i;
    const V x0 = vloadN(x + i, live), x1 = vloadN(x + half + i, live);
    const V cos = vloadN(table + i, live), sin = vloadN(table + half + i, live);
    vstoreN(x + i, vfma(x0, cos, vneg(vmul(x1, sin))), live);
    vstoreN(x + half + i, vfma(x0, sin, vmul(x1, cos)), live);
  }
}

void rope(const int32_t* a, int rows, const Memory& m) {
  const int nHead = a[4], d = a[5], nRot = a[6] & ~1;
  const bool halves = a[9] == ROPE_NEOX;
  for (int r = 0; r < rows; r++) {
    const float* table = m.act + a[7] + static_cast<long>(r) * a[8];
    float* row = m.act + a[2] + static_cast<long>(r) * a[3];
    for (int h = 0; h < nHead; h++) {
      float* x = row + static_cast<long>(h) * d;
      if (halves) rotateHalves(x, table, nRot);
      else rotateNeighbours(x, table, nRot);
    }
  }
}

/* False if a value does not fit: then nothing was stored. */
bool kvStore(const int32_t* a, int rows, const Memory& m) {
  const int n = a[4];
  const bool half = a[6] == TYPE_F16;
  const V limit = vset(half ? 65520.0f : __builtin_inff()); /* from here on a half rounds to infinity */
  for (int r = 0; r < rows; r++) {
    const float* from = m.act + a[2] + static_cast<long>(r) * a[3];
    for (int c = 0; c < n; c += 16) {
      if (!vallBelow(vloadN(from + c, n - c), limit)) return false;
    }
  }
  for (int r = 0; r < rows; r++) {
    const float* from = m.act + a[2] + static_cast<long>(r) * a[3];
    const long first = static_cast<long>(m.index[a[7] + r]) * n;
    float* wide = m.state(a[5]) + first;
    uint16_t* narrow = reinterpret_cast<uint16_t*>(m.state(a[5])) + first;
    if (!half) memcpy(wide, from, static_cast<size_t>(n) * 4);
    else for (int c = 0; c < n; c += 16) vstoreHalfN(narrow + c, vloadN(from + c, n - c), n - c);
  }
  return true;
}

void kvLoad(const int32_t* a, int rows, const Memory& m) {
  for (int r = 0; r < rows; r++) {
    const long first = static_cast<long>(m.index[a[7] + r]) * a[4];
    loadRow(m.act + a[2] + static_cast<long>(r) * a[3], m.state(a[5]), first, a[6], a[4]);
  }
}

void siluMul(const int32_t* a, int rows, const Memory& m) {
  const int n = a[6];
  for (int r = 0; r < rows; r++) {
    const long at = static_cast<long>(r) * a[5];
    const float *gate = m.act + a[2] + at, *up = m.act + a[3] + at;
    float* to = m.act + a[4] + at;
    for (int c = 0; c < n; c += 16) {
      vstore(to + c, firstN(vmul(vsilu(vload(gate + c)), vload(up + c)), n - c));
    }
  }
}

void gatherRows(const int32_t* a, int rows, const Memory& m) {
  for (int r = 0; r < rows; r++) {
    const float* from = m.act + a[2] + static_cast<long>(m.index[a[7] + r]) * a[3];
    memmove(m.act + a[4] + static_cast<long>(r) * a[5], from, static_cast<size_t>(a[6]) * 4);
  }
}

void stateGather(const int32_t* a, int rows, const Memory& m) {
  const long width = a[3];
  for (int i = 0; i < rows; i++) {
    const int32_t id = m.index[a[4] + i];
    float* to = m.act + a[5] + i * width;
    if (id < 0) memset(to, 0, static_cast<size_t>(width) * 4);
    else memcpy(to, m.state(a[2]) + id * width, static_cast<size_t>(width) * 4);
  }
}

void stateScatter(const int32_t* a, int rows, const Memory& m) {
  const long width = a[3];
  for (int j = 0; j < rows; j++) {
    const float* from = m.act + a[2] + m.index[a[4] + j] * width;
    memcpy(m.state(a[5]) + m.index[a[6] + j] * width, from, static_cast<size_t>(width) * 4);
  }
}

}  // namespace
