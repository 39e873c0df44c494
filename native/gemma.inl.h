/*
 * What gemma has beside the operations of others: a gate with GELU, scaled rows, norms behind a part before it is added,
 * capped logits. What each computes is said in plan.ts; zeros stay behind the last column.
 */
#pragma once

namespace {

void geluMul(const int32_t* a, int rows, const Memory& m) {
  const int n = a[6];
  for (int r = 0; r < rows; r++) {
    const long at = static_cast<long>(r) * a[5];
    const float *gate = m.act + a[2] + at, *up = m.act + a[3] + at;
    float* to = m.act + a[4] + at;
    for (int c = 0; c < n; c += 16) {
      vstore(to + c, firstN(vmul(vgelu(vload(gate + c)), vload(up + c)), n - c));
    }
  }
}

/* A row that goes to several places is read before any of them is written only if they are not its own. */
void timesEach(const int32_t* a, int rows, const Memory& m) {
  const int times = a[6], n = a[9];
  for (int r = 0; r < rows; r++) {
    const float* from = m.act + a[2] + static_cast<long>(r) * a[3];
    const float* by = m.act + a[4] + static_cast<long>(r) * a[5];
    for (int s = 0; s < times; s++) {
      float* to = m.act + a[7] + (static_cast<long>(r) * times + s) * a[8];
      for (int c = 0; c < n; c += 16) vstore(to + c, firstN(vmul(vload(from + c), vset(by[s])), n - c));
    }
  }
}

void scaleRows(const int32_t* a, int rows, const Memory& m) {
  const int n = a[4];
  const V factor = vset(asFloat(a[5]));
  for (int r = 0; r < rows; r++) {
    float* x = m.act + a[2] + static_cast<long>(r) * a[3];
    for (int c = 0; c < n; c += 16) vstore(x + c, firstN(vmul(vload(x + c), factor), n - c));
  }
}

void normAdd(const int32_t* a, int rows, const Memory& m) {
  const int n = a[6];
  const float eps = asFloat(a[8]);
  const float* weight = m.weight(a[7]);
  for (int r = 0; r < rows; r++) {
    const float* from = m.act + a[2] + static_cast<long>(r) * a[3];
    float* to = m.act + a[4] + static_cast<long>(r) * a[5];
    const V s = vset(rmsScale(from, n, eps));
    for (int c = 0; c < n; c += 16) {
      const V y = vmul(vmul(vload(from + c), s), vload(weight + c));
      vstore(to + c, firstN(vadd(vload(to + c), y), n - c));
    }
  }
}

/* Rows of the out space are packed: the last vector is masked on both sides. */
void outputRows(const int32_t* a, int rows, const Memory& m) {
  const int n = a[4];
  for (int r = 0; r < rows; r++) {
    memcpy(m.out + static_cast<long>(m.index[a[5] + r]) * n, m.act + a[2] + static_cast<long>(r) * a[3],
           static_cast<size_t>(n) * 4);
  }
}

void capOutputs(const int32_t* a, int rows, const Memory& m) {
  const int n = a[2];
  const V cap = vset(asFloat(a[3]));
  for (int r = 0; r < rows; r++) {
    float* x = m.out + static_cast<long>(m.index[a[4] + r]) * n;
    for (int c = 0; c < n; c += 16) {
      const int live = n - c;
      if (live >= 16) vstore(x + c, vsoftcap(vload(x + c), cap));
      else vstoreN(x + c, vsoftcap(vloadN(x + c, live), cap), live);
    }
  }
}

}  // namespace
