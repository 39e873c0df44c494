/*
 * The short convolution of lfm2 over equal sets of tokens, 16 channels at a time; what it computes is said in plan.ts.
 * Gated inputs take the place of x, so that columns of the state and of the tokens are read alike.
 */
#pragma once

namespace {

/* One output row: D taps (0: `taps` of them), n channels. */
template <int D>
void shortConvRow(const float* const* column, const float* w, const float* gate, float* to, int taps, int n) {
  const int count = D ? D : taps;
  for (int c = 0; c < n; c += 16) {
    V acc = vzero();
#pragma GCC unroll 4
    for (int j = 0; j < count; j++) acc = vfma(vload(column[j] + c), vload(w + static_cast<long>(j) * n + c), acc);
    vstore(to + c, vmul(vload(gate + c), acc));
  }
}

void shortConv(const int32_t* a, Sets sets, const Memory& m) {
  const int n = a[9], taps = a[10], kept = taps - 1;
  const long width = static_cast<long>(kept) * n, stride = a[6];
  const float* w = m.weight(a[11]);
  float* zeros = scratch.get<float>(0, static_cast<size_t>(n));
  memset(zeros, 0, static_cast<size_t>(n) * 4);
  const float** column = scratch.get<const float*>(1, static_cast<size_t>(kept + sets.tokens));
  for (int s = 0; s < sets.parts(); s++) {
    const int tokens = sets.length(s);
    const long row = sets.row(s);
    const float* old = oldState(m, a[12], a[15], m.index[a[13] + s], width);
    for (int j = 0; j < kept; j++) column[j] = old ? old + static_cast<long>(j) * n : zeros;
    for (int t = 0; t < tokens; t++) {
      const float* b = m.act + a[3] + (row + t) * stride;
      float* x = m.act + a[5] + (row + t) * stride;
      for (int c = 0; c < n; c += 16) vstore(x + c, vmul(vload(b + c), vload(x + c)));
      column[kept + t] = x;
    }
    for (int t = 0; t < tokens; t++) {
      const float* gate = m.act + a[4] + (row + t) * stride;
      float* to = m.act + a[7] + (row + t) * a[8];
      if (taps == 3) shortConvRow<3>(column + t, w, gate, to, taps, n);
      else shortConvRow<0>(column + t, w, gate, to, taps, n);
    }
    /* Ascending, so that a state may move down within its own row. */
    float* next = m.state(a[12]) + m.index[a[14] + s] * width;
    for (int j = 0; j < kept; j++)
      memmove(next + static_cast<long>(j) * n, column[tokens + j], static_cast<size_t>(n) * 4);
  }
}

}  // namespace
