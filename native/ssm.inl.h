/*
 * State-space operations over equal sets of tokens, 16 channels at a time. Where old states come from and new ones go
 * to is said in plan.ts. The scan keeps the states of 16 channels in registers over all tokens of a set.
 */
#pragma once

namespace {

/*
 * Equal sets of tokens, row s * tokens + t being token t of set s. Each of the last `kept` tokens of a set leaves a
 * state of its own: a set has kept + 1 parts, the last of one token each, and each part has an old state and a new one.
 * Passed by value: by reference wkv7 took a tenth longer.
 */
struct Sets {
  int seqs, tokens, kept;
  int parts() const { return seqs * (kept + 1); }
  long row(int p) const {
    const long first = static_cast<long>(p / (kept + 1)) * tokens;
    const int j = p % (kept + 1);
    return j == 0 ? first : first + tokens - kept + j - 1;
  }
  int length(int p) const { return p % (kept + 1) == 0 ? tokens - kept : 1; }
};

/* The old state of a part: a cache row, a moved row, or null for zeros. */
const float* oldState(const Memory& m, int32_t cache, int32_t moved, int32_t id, long width) {
  if (id == -1) return nullptr;
  return id >= 0 ? m.state(cache) + id * width : m.act + moved + (-2L - id) * width;
}

/* One output row: D taps (0: `taps` of them), n channels. */
template <int D>
void convRow(const float* const* column, const float* w, const float* bias, float* to, int taps, int n) {
  const int count = D ? D : taps;
  for (int c = 0; c < n; c += 16) {
    V acc = vzero();
#pragma GCC unroll 4
    for (int j = 0; j < count; j++) acc = vfma(vload(column[j] + c), vload(w + static_cast<long>(j) * n + c), acc);
    vstore(to + c, vsilu(vadd(acc, vload(bias + c))));
  }
}

void ssmConv(const int32_t* a, Sets sets, const Memory& m) {
  const int n = a[7], taps = a[8], kept = taps - 1;
  const long width = static_cast<long>(kept) * n, xStride = a[4];
  const float *w = m.weight(a[9]), *bias = m.weight(a[10]);
  float* zeros = scratch.get<float>(0, static_cast<size_t>(n));
  memset(zeros, 0, static_cast<size_t>(n) * 4);
  const float** column = scratch.get<const float*>(1, static_cast<size_t>(kept + sets.tokens));
  for (int s = 0; s < sets.parts(); s++) {
    const int tokens = sets.length(s);
    const long row = sets.row(s);
    const float* old = oldState(m, a[11], a[14], m.index[a[12] + s], width);
    const float* x = m.act + a[3] + row * xStride;
    for (int j = 0; j < kept; j++) column[j] = old ? old + static_cast<long>(j) * n : zeros;
    for (int t = 0; t < tokens; t++) column[kept + t] = x + t * xStride;
    for (int t = 0; t < tokens; t++) {
      float* to = m.act + a[5] + (row + t) * a[6];
      if (taps == 4) convRow<4>(column + t, w, bias, to, taps, n);
      else convRow<0>(column + t, w, bias, to, taps, n);
    }
    /* Ascending, so that a state may move down within its own row. */
    float* next = m.state(a[11]) + m.index[a[13] + s] * width;
    for (int j = 0; j < kept; j++) {
      memmove(next + static_cast<long>(j) * n, column[tokens + j], static_cast<size_t>(n) * 4);
    }
  }
}

struct Scan {
  const float *x, *dt, *b, *c;
  float* dst;
  long xStride, dtStride, bStride, cStride, dstStride;
  int tokens;
};

/* The lanes folded by +8, +4, +2, +1, where each lane is a vector of channels. */
LANES V foldLanes(const V* lane) {
  V half[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) half[i] = vadd(lane[i], lane[i + 8]);
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) half[i] = vadd(half[i], half[i + 4]);
  return vadd(vadd(half[0], half[2]), vadd(half[1], half[3]));
}

/*
 * 16 channels over all tokens of a set; N <= 16 states in registers. old may be null; a and states are [nState][16].
 * States are taken in the order in which their lanes meet in the fold, so that few lanes wait at a time.
 */
template <int N> struct ScanBlock {
  V state[N];
  V delta, xd;
  const float *a, *b, *c;

  /* Lane i after one token; zero where there is no such state. */
  template <int I> LANES V lane(ScanBlock& k) {
    if constexpr (I >= N) {
      return vzero();
    } else {
      const V decay = vexp(vmul(k.delta, vload(k.a + I * 16)));
      k.state[I] = vfma(k.state[I], decay, vmul(vset(k.b[I]), k.xd));
      return vfma(k.state[I], vset(k.c[I]), vzero());
    }
  }
  /* Lanes I, I + STEP, I + 2 STEP ... folded by +8, +4 ... +STEP. */
  template <int I, int STEP> LANES V folded(ScanBlock& k) {
    if constexpr (STEP == 16) {
      return lane<I>(k);
    } else {
      const V low = folded<I, STEP * 2>(k);
      return vadd(low, folded<I + STEP, STEP * 2>(k));
    }
  }
};

template <int N> void scanBlock(const Scan& scan, const float* a, const float* old, float* next) {
  ScanBlock<N> k;
  k.a = a;
#pragma GCC unroll 16
  for (int i = 0; i < N; i++) k.state[i] = old ? vload(old + i * 16) : vzero();
  for (int t = 0; t < scan.tokens; t++) {
    k.delta = vsoftplus(vload(scan.dt + t * scan.dtStride));
    k.xd = vmul(vload(scan.x + t * scan.xStride), k.delta);
    k.b = scan.b + t * scan.bStride;
    k.c = scan.c + t * scan.cStride;
    vstore(scan.dst + t * scan.dstStride, ScanBlock<N>::template folded<0, 1>(k));
  }
#pragma GCC unroll 16
  for (int i = 0; i < N; i++) vstore(next + i * 16, k.state[i]);
}

/* The same for any number of states, which stay in memory (`next`). */
void scanBlockAny(const Scan& k, int nState, const float* a, const float* old, float* next) {
  if (!old) memset(next, 0, static_cast<size_t>(nState) * 64);
  else if (old != next) memcpy(next, old, static_cast<size_t>(nState) * 64);
  for (int t = 0; t < k.tokens; t++) {
    const V delta = vsoftplus(vload(k.dt + t * k.dtStride));
    const V xd = vmul(vload(k.x + t * k.xStride), delta);
    const float *b = k.b + t * k.bStride, *c = k.c + t * k.cStride;
    V lane[16];
    for (int i = 0; i < 16; i++) lane[i] = vzero();
    for (int i = 0; i < nState; i++) {
      const V decay = vexp(vmul(delta, vload(a + i * 16)));
      const V now = vfma(vload(next + i * 16), decay, vmul(vset(b[i]), xd));
      vstore(next + i * 16, now);
      lane[i & 15] = vfma(now, vset(c[i]), lane[i & 15]);
    }
    vstore(k.dst + t * k.dstStride, foldLanes(lane));
  }
}

void ssmScan(const int32_t* o, Sets sets, const Memory& m) {
  const int n = o[13], nState = o[14];
  const long width = static_cast<long>(n) * nState;
  for (int s = 0; s < sets.parts(); s++) {
    const float* old = oldState(m, o[16], o[19], m.index[o[17] + s], width);
    float* next = m.state(o[16]) + m.index[o[18] + s] * width;
    const long row = sets.row(s);
    Scan k = {m.act + o[3] + row * o[4], m.act + o[5] + row * o[6],  m.act + o[7] + row * o[8],
              m.act + o[9] + row * o[10], m.act + o[11] + row * o[12], o[4], o[6], o[8], o[10], o[12], sets.length(s)};
    for (int c = 0; c < n; c += 16) {
      const long at = static_cast<long>(c) * nState;
      const float* from = old ? old + at : nullptr;
      if (nState == 16) scanBlock<16>(k, m.weight(o[15]) + at, from, next + at);
      else if (nState == 8) scanBlock<8>(k, m.weight(o[15]) + at, from, next + at);
      else scanBlockAny(k, nState, m.weight(o[15]) + at, from, next + at);
      k.x += 16;
      k.dt += 16;
      k.dst += 16;
    }
  }
}

void ssmGate(const int32_t* a, int rows, const Memory& m) {
  const int n = a[10];
  const float* skip = m.weight(a[11]);
  for (int r = 0; r < rows; r++) {
    const float *y = m.act + a[2] + static_cast<long>(r) * a[3], *x = m.act + a[4] + static_cast<long>(r) * a[5];
    const float* z = m.act + a[6] + static_cast<long>(r) * a[7];
    float* to = m.act + a[8] + static_cast<long>(r) * a[9];
    for (int c = 0; c < n; c += 16) {
      const V v = vfma(vload(skip + c), vload(x + c), vload(y + c));
      vstore(to + c, vmul(v, vsilu(vload(z + c))));
    }
  }
}

}  // namespace
