/*
 * The state-space operations of Mamba-2. All channels of a group share b and c, so the states of a channel are the
 * lanes here, 16 at a time, and a few channels keep theirs in registers over all tokens of a set.
 */
#pragma once

namespace {

/* One head over the tokens of a set. */
struct HeadScan {
  const float *x, *b, *c; /* b and c of the group */
  const float *delta, *decay;
  float* dst;
  long xStride, bStride, cStride, dstStride, stepStride;
  int tokens;
  int tail; /* states in the last vector */
};

/* Vector r of R of b or c; what is behind the last state counts as zero. */
LANES V groupVector(const float* row, int r, int R, int tail) {
  return r == R - 1 && tail < 16 ? vloadN(row + r * 16, tail) : vload(row + r * 16);
}

/* K channels of R vectors of states each, from channel `first` on. old may be null; states are [channel][R * 16]. */
template <int R, int K> void headChannels(const HeadScan& k, int first, const float* old, float* next) {
  V state[K][R];
#pragma GCC unroll 16
  for (int i = 0; i < K * R; i++) state[i / R][i % R] = old ? vload(old + i * 16) : vzero();
  for (int t = 0; t < k.tokens; t++) {
    const float* x = k.x + t * k.xStride + first;
    const float *b = k.b + t * k.bStride, *c = k.c + t * k.cStride;
    float* to = k.dst + t * k.dstStride + first;
    const float delta = k.delta[t * k.stepStride];
    const V decay = vset(k.decay[t * k.stepStride]);
    V fed[K], sum[K];
#pragma GCC unroll 4
    for (int j = 0; j < K; j++) fed[j] = vset(x[j] * delta), sum[j] = vzero();
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const V br = groupVector(b, r, R, k.tail), cr = groupVector(c, r, R, k.tail);
#pragma GCC unroll 4
      for (int j = 0; j < K; j++) {
        state[j][r] = vfma(state[j][r], decay, vmul(br, fed[j]));
        sum[j] = vfma(state[j][r], cr, sum[j]);
      }
    }
#pragma GCC unroll 4
    for (int j = 0; j < K; j++) to[j] = vfold(sum[j]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < K * R; i++) vstore(next + i * 16, state[i / R][i % R]);
}

/* The same for one channel of any number of vectors, which stay in memory (`next`). */
void headChannelAny(const HeadScan& k, int vectors, int channel, const float* old, float* next) {
  if (!old) memset(next, 0, static_cast<size_t>(vectors) * 64);
  else if (old != next) memcpy(next, old, static_cast<size_t>(vectors) * 64);
  for (int t = 0; t < k.tokens; t++) {
    const float *b = k.b + t * k.bStride, *c = k.c + t * k.cStride;
    const V decay = vset(k.decay[t * k.stepStride]);
    const V fed = vset(k.x[t * k.xStride + channel] * k.delta[t * k.stepStride]);
    V sum = vzero();
    for (int r = 0; r < vectors; r++) {
      const V now = vfma(vload(next + r * 16), decay, vmul(groupVector(b, r, vectors, k.tail), fed));
      vstore(next + r * 16, now);
      sum = vfma(now, groupVector(c, r, vectors, k.tail), sum);
    }
    k.dst[t * k.dstStride + channel] = vfold(sum);
  }
}

/* All channels of a head, K at a time while there are so many. */
template <int R, int K> void headOf(const HeadScan& k, int channels, const float* old, float* next) {
  int c = 0;
  for (; c + K <= channels; c += K) headChannels<R, K>(k, c, old ? old + c * R * 16 : nullptr, next + c * R * 16);
  for (; c < channels; c++) headChannels<R, 1>(k, c, old ? old + c * R * 16 : nullptr, next + c * R * 16);
}

void head(const HeadScan& k, int vectors, int channels, const float* old, float* next) {
  if (vectors == 1) headOf<1, 4>(k, channels, old, next);
  else if (vectors == 2) headOf<2, 4>(k, channels, old, next);
  else if (vectors == 4) headOf<4, 2>(k, channels, old, next);
  else if (vectors == 8) headOf<8, 1>(k, channels, old, next);
  else
    for (int c = 0; c < channels; c++) {
      const long at = static_cast<long>(c) * vectors * 16;
      headChannelAny(k, vectors, c, old ? old + at : nullptr, next + at);
    }
}

void ssmScanHeads(const int32_t* o, Sets sets, const Memory& m) {
  const int nHead = o[13], dHead = o[14], nGroup = o[15], nState = o[16];
  const int n = nHead * dHead, heads = pad16(nHead), vectors = pad16(nState) / 16;
  const long width = static_cast<long>(n) * vectors * 16, headWidth = static_cast<long>(dHead) * vectors * 16;
  float* delta = scratch.get<float>(0, static_cast<size_t>(sets.tokens) * heads);
  float* decay = scratch.get<float>(1, static_cast<size_t>(sets.tokens) * heads);
  for (int s = 0; s < sets.parts(); s++) {
    const float* old = oldState(m, o[18], o[21], m.index[o[19] + s], width);
    float* next = m.state(o[18]) + m.index[o[20] + s] * width;
    const int tokens = sets.length(s);
    const long row = sets.row(s);
    const float* dt = m.act + o[5] + row * o[6];
    /* Steps and decays, heads as lanes. */
    for (int t = 0; t < tokens; t++) {
      for (int h = 0; h < heads; h += 16) {
        const V d = vsoftplus(vload(dt + static_cast<long>(t) * o[6] + h));
        vstore(delta + static_cast<long>(t) * heads + h, d);
        vstore(decay + static_cast<long>(t) * heads + h, vexp(vmul(d, vload(m.weight(o[17]) + h))));
      }
    }
    float* dst = m.act + o[11] + row * o[12];
    for (int h = 0; h < nHead; h++) {
      const long group = static_cast<long>(h / (nHead / nGroup)) * nState, channel = static_cast<long>(h) * dHead;
      const HeadScan k = {m.act + o[3] + row * o[4] + channel,
                          m.act + o[7] + row * o[8] + group,
                          m.act + o[9] + row * o[10] + group,
                          delta + h,
                          decay + h,
                          dst + channel,
                          o[4],
                          o[8],
                          o[10],
                          o[12],
                          heads,
                          tokens,
                          nState - (vectors - 1) * 16};
      head(k, vectors, dHead, old ? old + h * headWidth : nullptr, next + h * headWidth);
    }
    for (int t = 0; t < tokens && n < pad16(n); t++) vstoreN(dst + static_cast<long>(t) * o[12] + n, vzero(), pad16(n) - n);
  }
}

void ssmGateNorm(const int32_t* a, int rows, const Memory& m) {
  const int n = a[10], groups = a[11], size = n / groups;
  const float *skip = m.weight(a[12]), *weight = m.weight(a[13]);
  const float eps = asFloat(a[14]);
  for (int r = 0; r < rows; r++) {
    const float *y = m.act + a[2] + static_cast<long>(r) * a[3], *x = m.act + a[4] + static_cast<long>(r) * a[5];
    const float* z = m.act + a[6] + static_cast<long>(r) * a[7];
    float* to = m.act + a[8] + static_cast<long>(r) * a[9];
    for (int g = 0; g < n; g += size) {
      V squares = vzero();
      for (int c = 0; c < size; c += 16) {
        const int at = g + c, live = least(size - c, 16);
        const V v = vfma(vloadN(skip + at, live), vloadN(x + at, live), vloadN(y + at, live));
        const V gated = vmul(v, vsilu(vloadN(z + at, live)));
        squares = vfma(gated, gated, squares);
        vstoreN(to + at, gated, live);
      }
      const float mean = vfold(squares) / static_cast<float>(size);
      const V s = vset(1.0f / __builtin_sqrtf(mean + eps));
      for (int c = 0; c < size; c += 16) {
        const int at = g + c, live = least(size - c, 16);
        vstoreN(to + at, vmul(vmul(vloadN(to + at, live), s), vloadN(weight + at, live)), live);
      }
    }
    if (n < pad16(n)) vstoreN(to + n, vzero(), pad16(n) - n);
  }
}

}  // namespace
