/*
 * The operations of RWKV (native/plan-rwkv.ts says what each computes). Heads lie one behind the other in a row, of any
 * size, so the last vector of a head is masked. Recurrences walk all tokens of a set for a few vectors of values at a
 * time: their part of the state, a vector a key, stays in the first cache.
 */
#pragma once

namespace {

LANES V loadPart(const float* p, int left) { return left >= 16 ? vload(p) : vloadN(p, left); }
LANES void storePart(float* p, V v, int left) {
  if (left >= 16) vstore(p, v);
  else vstoreN(p, v, left);
}
inline void zeroBehind(float* row, int n) { memset(row + n, 0, static_cast<size_t>(pad16(n) - n) * 4); }

void layerNorm(const int32_t* a, int rows, const Memory& m) {
  const int parts = a[5], n = a[6];
  const float eps = asFloat(a[9]), count = static_cast<float>(n);
  for (int r = 0; r < rows; r++) {
    const float* row = m.act + a[2] + static_cast<long>(r) * a[4];
    float* to = m.act + a[3] + static_cast<long>(r) * a[4];
    for (int part = 0; part < parts; part++) {
      const long at = static_cast<long>(part) * n;
      V sum = vzero(), squares = vzero();
      for (int c = 0; c < n; c += 16) sum = vadd(sum, loadPart(row + at + c, n - c));
      const V mean = vset(vfold(sum) / count);
      for (int c = 0; c < n; c += 16) {
        const V x = firstN(vsub(loadPart(row + at + c, n - c), mean), n - c);
        squares = vfma(x, x, squares);
      }
      const V s = vset(1.0f / __builtin_sqrtf(vfold(squares) / count + eps));
      const float *weight = m.weight(a[7]) + at, *bias = m.weight(a[8]) + at;
      for (int c = 0; c < n; c += 16) {
        const V x = vmul(vsub(loadPart(row + at + c, n - c), mean), s);
        storePart(to + at + c, vfma(x, loadPart(weight + c, n - c), loadPart(bias + c, n - c)), n - c);
      }
    }
    zeroBehind(to, parts * n);
  }
}

void tokenShift(const int32_t* a, Sets sets, const Memory& m) {
  const int n = a[6];
  const size_t bytes = static_cast<size_t>(n) * 4;
  for (int s = 0; s < sets.parts(); s++) {
    const int tokens = sets.length(s);
    const long first = sets.row(s) * a[5];
    const float* x = m.act + a[3] + first;
    float* to = m.act + a[4] + first;
    const float* old = oldState(m, a[7], a[10], m.index[a[8] + s], n);
    if (old) memcpy(to, old, bytes);
    else memset(to, 0, bytes);
    for (int t = 1; t < tokens; t++) memcpy(to + static_cast<long>(t) * a[5], x + (t - 1L) * a[5], bytes);
    memcpy(m.state(a[7]) + static_cast<long>(m.index[a[9] + s]) * n, x + (tokens - 1L) * a[5], bytes);
  }
}

void lerp(const int32_t* a, int rows, const Memory& m) {
  const int n = a[6];
  const float* weight = a[7] < 0 ? nullptr : m.weight(a[7]);
  for (int r = 0; r < rows; r++) {
    const long at = static_cast<long>(r) * a[5];
    const float *x = m.act + a[2] + at, *goal = m.act + a[3] + at;
    const float* way = a[8] < 0 ? nullptr : m.act + a[8] + at;
    float* to = m.act + a[4] + at;
    for (int c = 0; c < n; c += 16) {
      const V from = vload(x + c);
      const V by = !way ? vload(weight + c) : weight ? vadd(vload(weight + c), vload(way + c)) : vload(way + c);
      vstore(to + c, vfma(vsub(vload(goal + c), from), by, from));
    }
  }
}

enum Function { TANH, SIGMOID, RELU_SQUARED, DECAY6, DECAY7, FUNCTIONS };

LANES V reluSquared(V x) {
  const V y = vmax(vzero(), x); /* NaN stays */
  return vmul(y, y);
}

template <int F> void pointwiseRows(const int32_t* a, int rows, const Memory& m) {
  const int n = a[4];
  for (int r = 0; r < rows; r++) {
    float* row = m.act + a[2] + static_cast<long>(r) * a[3];
    for (int c = 0; c < n; c += 16) {
      const V x = vload(row + c);
      V y;
      if constexpr (F == TANH) y = vtanh(x);
      else if constexpr (F == SIGMOID) y = vsigmoid(x);
      else if constexpr (F == RELU_SQUARED) y = reluSquared(x);
      else if constexpr (F == DECAY6) y = vexp(vneg(vexp(x)));
      else y = vexp(vmul(vset(-0.606531f), vsigmoid(x)));
      vstore(row + c, firstN(y, n - c));
    }
  }
}

void pointwise(const int32_t* a, int rows, const Memory& m) {
  switch (a[5]) {
    case TANH: return pointwiseRows<TANH>(a, rows, m);
    case SIGMOID: return pointwiseRows<SIGMOID>(a, rows, m);
    case RELU_SQUARED: return pointwiseRows<RELU_SQUARED>(a, rows, m);
    case DECAY6: return pointwiseRows<DECAY6>(a, rows, m);
    default: return pointwiseRows<DECAY7>(a, rows, m);
  }
}

void gatedAdd(const int32_t* a, int rows, const Memory& m) {
  const int n = a[6];
  const V scale = vset(asFloat(a[7]));
  for (int r = 0; r < rows; r++) {
    const long at = static_cast<long>(r) * a[5];
    const float *gate = m.act + a[2] + at, *y = m.act + a[3] + at;
    float* x = m.act + a[4] + at;
    for (int c = 0; c < n; c += 16) {
      const V sum = vfma(vsigmoid(vload(gate + c)), vload(y + c), vload(x + c));
      vstore(x + c, vmul(sum, scale));
    }
  }
}

void wkv7Keys(const int32_t* a, int rows, const Memory& m) {
  const int heads = a[7], d = a[8];
  const V one = vset(1.0f);
  for (int r = 0; r < rows; r++) {
    const long row = static_cast<long>(r) * a[6];
    for (int h = 0; h < heads; h++) {
      const long at = row + static_cast<long>(h) * d;
      float *k = m.act + a[2] + at, *kappa = m.act + a[4] + at, *b = m.act + a[5] + at;
      const float* iclr = m.act + a[3] + at;
      const float *scale = m.weight(a[9]) + at - row, *less = m.weight(a[10]) + at - row;
      V squares = vzero();
      for (int c = 0; c < d; c += 16) {
        const V q = vmul(loadPart(k + c, d - c), loadPart(scale + c, d - c));
        squares = vfma(q, q, squares);
      }
      const float length = __builtin_sqrtf(vfold(squares));
      const V s = vset(1.0f / (length < 1e-12f ? 1e-12f : length));
      for (int c = 0; c < d; c += 16) {
        const int left = d - c;
        const V key = loadPart(k + c, left), rate = loadPart(iclr + c, left);
        const V unit = vmul(vmul(key, loadPart(scale + c, left)), s);
        storePart(kappa + c, unit, left);
        storePart(b + c, vmul(unit, rate), left);
        storePart(k + c, vmul(key, vfma(vsub(rate, one), loadPart(less + c, left), one)), left);
      }
    }
    zeroBehind(m.act + a[4] + row, heads * d);
    zeroBehind(m.act + a[5] + row, heads * d);
  }
}

void wkv7Output(const int32_t* a, int rows, const Memory& m) {
  const int heads = a[8], d = a[9];
  for (int row = 0; row < rows; row++) {
    for (int h = 0; h < heads; h++) {
      const long own = static_cast<long>(h) * d, at = static_cast<long>(row) * a[7] + own;
      float* y = m.act + a[2] + at;
      const float *r = m.act + a[3] + at, *k = m.act + a[4] + at, *v = m.act + a[5] + at, *g = m.act + a[6] + at;
      const float* rk = m.weight(a[10]) + own;
      V lanes = vzero();
      for (int c = 0; c < d; c += 16) {
        lanes = vfma(vmul(loadPart(k + c, d - c), loadPart(r + c, d - c)), loadPart(rk + c, d - c), lanes);
      }
      const V s = vset(vfold(lanes));
      for (int c = 0; c < d; c += 16) {
        const int left = d - c;
        const V sum = vfma(s, loadPart(v + c, left), loadPart(y + c, left));
        storePart(y + c, vmul(sum, loadPart(g + c, left)), left);
      }
    }
  }
}

/* Sums over keys are cut like those of a matrix product. */
constexpr int KEY_BLOCK = 64;

/* What a recurrence reads of one set: rows of its first token, at a head. The state is [d][wide] from `state` on. */
struct Head {
  const float *r, *w, *k, *v, *kappa, *b, *u;
  float *dst, *state;
  long stride;
  int d, wide, tokens;
};

/* B vectors of values, from channel c on. */
template <int B> void wkv6Values(const Head& head, int c) {
  const int d = head.d;
  for (int t = 0; t < head.tokens; t++) {
    const long row = t * head.stride;
    const float *r = head.r + row, *w = head.w + row, *k = head.k + row;
    V v[B], total[B];
    for (int x = 0; x < B; x++) v[x] = loadPart(head.v + row + c + x * 16, d - c - x * 16);
    for (int begin = 0; begin < d; begin += KEY_BLOCK) {
      V sum[B];
      for (int x = 0; x < B; x++) sum[x] = vzero();
      const int end = least(begin + KEY_BLOCK, d);
      for (int i = begin; i < end; i++) {
        float* state = head.state + static_cast<long>(i) * head.wide + c;
        for (int x = 0; x < B; x++) {
          const V kv = vmul(vset(k[i]), v[x]), old = vload(state + x * 16);
          sum[x] = vfma(vset(r[i]), vfma(vset(head.u[i]), kv, old), sum[x]);
          vstore(state + x * 16, vfma(old, vset(w[i]), kv));
        }
      }
      for (int x = 0; x < B; x++) total[x] = begin ? vadd(total[x], sum[x]) : sum[x];
    }
    for (int x = 0; x < B; x++) storePart(head.dst + row + c + x * 16, total[x], d - c - x * 16);
  }
}

template <int B> void wkv7Values(const Head& head, int c) {
  const int d = head.d;
  for (int t = 0; t < head.tokens; t++) {
    const long row = t * head.stride;
    const float *r = head.r + row, *w = head.w + row, *k = head.k + row;
    const float *kappa = head.kappa + row, *b = head.b + row;
    V v[B], removed[B], total[B];
    for (int x = 0; x < B; x++) v[x] = loadPart(head.v + row + c + x * 16, d - c - x * 16);
    for (int begin = 0; begin < d; begin += KEY_BLOCK) {
      V sum[B];
      for (int x = 0; x < B; x++) sum[x] = vzero();
      const int end = least(begin + KEY_BLOCK, d);
      for (int j = begin; j < end; j++) {
        const float* state = head.state + static_cast<long>(j) * head.wide + c;
        const V less = vset(-kappa[j]);
        for (int x = 0; x < B; x++) sum[x] = vfma(less, vload(state + x * 16), sum[x]);
      }
      for (int x = 0; x < B; x++) removed[x] = begin ? vadd(removed[x], sum[x]) : sum[x];
    }
    for (int begin = 0; begin < d; begin += KEY_BLOCK) {
      V sum[B];
      for (int x = 0; x < B; x++) sum[x] = vzero();
      const int end = least(begin + KEY_BLOCK, d);
      for (int j = begin; j < end; j++) {
        float* state = head.state + static_cast<long>(j) * head.wide + c;
        for (int x = 0; x < B; x++) {
          const V input = vfma(removed[x], vset(b[j]), vmul(v[x], vset(k[j])));
          const V now = vfma(vload(state + x * 16), vset(w[j]), input);
          vstore(state + x * 16, now);
          sum[x] = vfma(now, vset(r[j]), sum[x]);
        }
      }
      for (int x = 0; x < B; x++) total[x] = begin ? vadd(total[x], sum[x]) : sum[x];
    }
    for (int x = 0; x < B; x++) storePart(head.dst + row + c + x * 16, total[x], d - c - x * 16);
  }
}

/* The new state of a set begins as the old one. */
float* nextState(const Memory& m, const float* old, int32_t cache, int32_t id, long width) {
  float* next = m.state(cache) + id * width;
  if (!old) memset(next, 0, static_cast<size_t>(width) * 4);
  else if (old != next) memcpy(next, old, static_cast<size_t>(width) * 4);
  return next;
}

void wkv6(const int32_t* a, Sets sets, const Memory& m) {
  const int heads = a[9], d = a[10], wide = pad16(d);
  const long stride = a[8], width = static_cast<long>(heads) * d * wide;
  for (int s = 0; s < sets.parts(); s++) {
    const int tokens = sets.length(s);
    const float* old = oldState(m, a[12], a[15], m.index[a[13] + s], width);
    float* next = nextState(m, old, a[12], m.index[a[14] + s], width);
    const long row = sets.row(s) * stride;
    for (int h = 0; h < heads; h++) {
      const long at = row + static_cast<long>(h) * d;
      const Head head = {m.act + a[3] + at, m.act + a[4] + at, m.act + a[5] + at, m.act + a[6] + at, nullptr, nullptr,
                         m.weight(a[11]) + at - row, m.act + a[7] + at, next + static_cast<long>(h) * d * wide,
                         stride, d, wide, tokens};
      int c = 0;
      for (; c + 16 < d; c += 32) wkv6Values<2>(head, c);
      for (; c < d; c += 16) wkv6Values<1>(head, c);
    }
    for (int t = 0; t < tokens; t++) zeroBehind(m.act + a[7] + row + t * stride, heads * d);
  }
}

void wkv7(const int32_t* a, Sets sets, const Memory& m) {
  const int heads = a[11], d = a[12], wide = pad16(d);
  const long stride = a[10], width = static_cast<long>(heads) * d * wide;
  for (int s = 0; s < sets.parts(); s++) {
    const int tokens = sets.length(s);
    const float* old = oldState(m, a[13], a[16], m.index[a[14] + s], width);
    float* next = nextState(m, old, a[13], m.index[a[15] + s], width);
    const long row = sets.row(s) * stride;
    for (int h = 0; h < heads; h++) {
      const long at = row + static_cast<long>(h) * d;
      const Head head = {m.act + a[3] + at, m.act + a[4] + at, m.act + a[5] + at, m.act + a[6] + at,
                         m.act + a[7] + at, m.act + a[8] + at, nullptr, m.act + a[9] + at,
                         next + static_cast<long>(h) * d * wide, stride, d, wide, tokens};
      int c = 0;
      for (; c + 16 < d; c += 32) wkv7Values<2>(head, c);
      for (; c < d; c += 16) wkv7Values<1>(head, c);
    }
    for (int t = 0; t < tokens; t++) zeroBehind(m.act + a[9] + row + t * stride, heads * d);
  }
}

}  // namespace
