/*
 * Experts: which ones each row goes to, products with the matrices of those, and the weighted sum of what comes out;
 * what each operation computes is said in plan.ts. Rows of one expert are gathered and multiplied together, which
 * changes no bit, since a product is made row by row.
 */
#pragma once

namespace {

enum { SHARES_ALL = 1, SHARES_SIGMOID };

/* A few comparisons an expert: next to the products that follow they cost nothing. */
void route(const int32_t* a, int rows, const Memory& m) {
  const int nExpert = a[4], nUsed = a[5], wide = pad16(nUsed);
  const bool all = a[9] == SHARES_ALL, sigmoid = a[9] == SHARES_SIGMOID;
  uint8_t* taken = scratch.get<uint8_t>(0, static_cast<size_t>(nExpert));
  for (int r = 0; r < rows; r++) {
    const float* logits = m.act + a[2] + static_cast<long>(r) * a[3];
    float* ids = m.act + a[6] + static_cast<long>(r) * a[8];
    float* weights = m.act + a[7] + static_cast<long>(r) * a[8];
    memset(taken, 0, static_cast<size_t>(nExpert));
    float max = 0;
    for (int s = 0; s < nUsed; s++) {
      int best = -1;
      for (int i = 0; i < nExpert; i++) {
        if (!taken[i] && (best < 0 || logits[i] > logits[best])) best = i;
      }
      taken[best] = 1;
      if (s == 0) max = logits[best];
    }
    for (int i = 0, s = 0; i < nExpert; i++) {
      if (!taken[i]) continue;
      ids[s] = static_cast<float>(i);
      weights[s++] = logits[i];
    }
    for (int s = nUsed; s < wide; s++) ids[s] = weights[s] = 0;
    if (sigmoid) {
      for (int s = 0; s < nUsed; s += 16) vstore(weights + s, firstN(vsigmoid(vload(weights + s)), nUsed - s));
      continue;
    }
    V sum = vzero();
    for (int s = 0; s < nUsed; s += 16) {
      const V e = firstN(vexp(vsub(vload(weights + s), vset(max))), nUsed - s);
      vstore(weights + s, e);
      if (!all) sum = vadd(sum, e);
    }
    for (int i = 0; all && i < nExpert; i += 16)
      sum = vadd(sum, firstN(vexp(vsub(vload(logits + i), vset(max))), nExpert - i));
    const V total = vset(vfold(sum));
    for (int s = 0; s < nUsed; s += 16) vstore(weights + s, firstN(vdiv(vload(weights + s), total), nUsed - s));
  }
}

enum { SLOT_GATHERED = 2, SLOT_LISTS };

/* The slots (row * nUsed + s) of each expert, ascending: those of expert e lie in [end[e-1], end[e]) of `slot`. */
struct ExpertLists {
  const int32_t* end;
  const int32_t* slot;

  int first(int e) const { return e == 0 ? 0 : end[e - 1]; }
};

ExpertLists slotsByExpert(const float* ids, long stride, int rows, int nUsed, int nExpert) {
  const size_t slots = static_cast<size_t>(rows) * static_cast<size_t>(nUsed);
  int32_t* next = scratch.get<int32_t>(SLOT_LISTS, static_cast<size_t>(nExpert) + 1 + slots);
  int32_t* slot = next + nExpert + 1;
  memset(next, 0, (static_cast<size_t>(nExpert) + 1) * 4);
  for (int r = 0; r < rows; r++) {
    for (int s = 0; s < nUsed; s++) next[static_cast<int>(ids[r * stride + s]) + 1]++;
  }
  for (int e = 0; e < nExpert; e++) next[e + 1] += next[e];
  for (int r = 0; r < rows; r++) {
    for (int s = 0; s < nUsed; s++) slot[next[static_cast<int>(ids[r * stride + s])]++] = r * nUsed + s;
  }
  return {next, slot};
}

void expertMatmul(const int32_t* a, int rows, const Memory& m) {
  const int nExpert = a[2], nUsed = a[3], k = a[11], n = a[12], wide = pad16(k);
  const ExpertLists lists = slotsByExpert(m.act + a[4], a[5], rows, nUsed, nExpert);
  for (int e = 0; e < nExpert; e++) {
    const int first = lists.first(e), count = lists.end[e] - first;
    if (count == 0) continue;
    const int32_t* slot = lists.slot + first;
    float* x = scratch.get<float>(SLOT_GATHERED, static_cast<size_t>(count) * static_cast<size_t>(wide));
    for (int i = 0; i < count; i++) {
      const long row = a[8] ? slot[i] : slot[i] / nUsed;
      memcpy(x + static_cast<long>(i) * wide, m.act + a[6] + row * a[7], static_cast<size_t>(k) * 4);
    }
    const Product target = {m.act + a[9], a[10], slot, nullptr, n, pad16(n), false};
    const float* w = m.weight(a[13]) + static_cast<long>(e) * a[14];
    if (a[15] == TYPE_F32) product(target, x, wide, count, w, k);
    else product(target, x, wide, count, reinterpret_cast<const uint16_t*>(w), k);
  }
}

void expertSum(const int32_t* a, int rows, const Memory& m) {
  const int nUsed = a[6], n = a[9];
  for (int r = 0; r < rows; r++) {
    const float* weights = a[4] < 0 ? nullptr : m.act + a[4] + static_cast<long>(r) * a[5];
    const float* from = m.act + a[2] + static_cast<long>(r) * nUsed * a[3];
    float* to = m.act + a[7] + static_cast<long>(r) * a[8];
    for (int c = 0; c < n; c += 16) {
      V sum = vzero();
      for (int s = 0; s < nUsed; s++)
        sum = vfma(vset(weights ? weights[s] : 1.0f), vload(from + static_cast<long>(s) * a[3] + c), sum);
      vstore(to + c, firstN(vadd(vload(to + c), sum), n - c));
    }
  }
}

}  // namespace
