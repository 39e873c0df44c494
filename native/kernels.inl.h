/*
 * All kernels of one implementation, over the 16 logical lanes of the lanes_*.h that was included before, and the
 * loop that runs a plan's records. Everything has internal linkage: another unit is compiled for another instruction
 * set, and the linker must not mix them. For the same reason nothing here instantiates the C++ library.
 */
#pragma once
#include "isobatch.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

namespace {

/* The spaces of a run. */
struct Memory {
  const uint8_t* weights;
  float* act;
  uint8_t* cache;
  const int32_t* index;
  float* out;

  const float* weight(int32_t word) const { return reinterpret_cast<const float*>(weights) + word; }
  float* state(int32_t word) const { return reinterpret_cast<float*>(cache) + word; }
};

/* Scratch memory of a thread: buffers that only grow, 64-byte aligned. */
struct Scratch {
  static constexpr int SLOTS = 8;
  void* data[SLOTS] = {};
  size_t bytes[SLOTS] = {};

  ~Scratch() {
    for (void* p : data) free(p);
  }
  template <class T> T* get(int slot, size_t n) {
    const size_t need = (n * sizeof(T) + 64 + 63) & ~static_cast<size_t>(63);
    if (bytes[slot] < need) {
      free(data[slot]);
      data[slot] = aligned_alloc(64, need + need / 4 / 64 * 64);
      if (!data[slot]) abort();
      bytes[slot] = need;
    }
    return static_cast<T*>(data[slot]);
  }
};
thread_local Scratch scratch;

inline int pad16(int n) { return (n + 15) & ~15; }
inline int least(int a, int b) { return a < b ? a : b; }
inline int most(int a, int b) { return a > b ? a : b; }

inline float asFloat(int32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

/* v in lanes 0..n-1, zeros behind. */
LANES V firstN(V v, int n) { return n >= 16 ? v : vpick((1u << n) - 1, v, vzero()); }

constexpr int TYPE_F32 = 0;
constexpr int TYPE_F16 = 1;
constexpr int ROPE_NEOX = 1;

}  // namespace

#include "math.inl.h"
#include "matmul.inl.h"
#include "rows.inl.h"
#include "attention.inl.h"
#include "ssm.inl.h"
#include "ssm_heads.inl.h"
#include "shortconv.inl.h"
#include "experts.inl.h"
#include "rwkv.inl.h"
#include "gemma.inl.h"

namespace {

enum Op {
  OP_EMBED = 1,
  OP_RMS_NORM,
  OP_MATMUL,
  OP_ROPE,
  OP_KV_STORE,
  OP_ATTENTION,
  OP_SILU_MUL,
  OP_GATHER_ROWS,
  OP_STATE_GATHER,
  OP_STATE_SCATTER,
  OP_SSM_CONV,
  OP_SSM_SCAN,
  OP_SSM_GATE,
  OP_KV_LOAD,
  OP_SSM_SCAN_HEADS = 20,
  OP_SSM_GATE_NORM,
  OP_HEAD_NORM = 35,
  OP_ROUTE,
  OP_EXPERT_MATMUL,
  OP_EXPERT_SUM,
  OP_LAYER_NORM = 25,
  OP_TOKEN_SHIFT,
  OP_LERP,
  OP_POINTWISE,
  OP_GATED_ADD,
  OP_WKV6,
  OP_WKV7_KEYS,
  OP_WKV7,
  OP_WKV7_OUTPUT,
  OP_GELU_MUL = 40,
  OP_SCALE_ROWS,
  OP_NORM_ADD,
  OP_CAP_OUTPUTS,
  OP_SHORT_CONV = 47,
  OP_TIMES_EACH,
  OP_OUTPUT_ROWS,
};

bool knownType(int32_t type) { return type == TYPE_F32 || type == TYPE_F16; }

/* Entry of dims: the last tokens of each set that leave states of their own. */
enum { DIM_KEPT = 7 };

/* Runs one record; 0 or a status. */
int32_t runOp(const int32_t* a, const int32_t* dims, const Memory& m) {
  const int rows = dims[a[1]];
  switch (a[0]) {
    case OP_EMBED:
      if (!knownType(a[6])) return IB_BAD_OP;
      embed(a, rows, m);
      return 0;
    case OP_RMS_NORM: rmsNorm(a, rows, m); return 0;
    case OP_MATMUL:
      if (!knownType(a[11])) return IB_BAD_OP;
      matmul(a, rows, m);
      return 0;
    case OP_ROPE:
      if (!(a[9] == 0 || a[9] == ROPE_NEOX)) return IB_BAD_OP;
      rope(a, rows, m);
      return 0;
    case OP_KV_STORE:
      if (!knownType(a[6])) return IB_BAD_OP;
      return kvStore(a, rows, m) ? 0 : IB_KV_OVERFLOW;
    case OP_KV_LOAD:
      if (!knownType(a[6])) return IB_BAD_OP;
      kvLoad(a, rows, m);
      return 0;
    case OP_ATTENTION:
      if (!knownType(a[11])) return IB_BAD_OP;
      attention(a, rows, m);
      return 0;
    case OP_SILU_MUL: siluMul(a, rows, m); return 0;
    case OP_GATHER_ROWS: gatherRows(a, rows, m); return 0;
    case OP_STATE_GATHER: stateGather(a, rows, m); return 0;
    case OP_STATE_SCATTER: stateScatter(a, rows, m); return 0;
    case OP_SSM_CONV: ssmConv(a, {rows, dims[a[2]], dims[DIM_KEPT]}, m); return 0;
    case OP_SSM_SCAN: ssmScan(a, {rows, dims[a[2]], dims[DIM_KEPT]}, m); return 0;
    case OP_SSM_GATE: ssmGate(a, rows, m); return 0;
    case OP_SSM_SCAN_HEADS: ssmScanHeads(a, {rows, dims[a[2]], dims[DIM_KEPT]}, m); return 0;
    case OP_SSM_GATE_NORM: ssmGateNorm(a, rows, m); return 0;
    case OP_SHORT_CONV: shortConv(a, {rows, dims[a[2]], dims[DIM_KEPT]}, m); return 0;
    case OP_HEAD_NORM: headNorm(a, rows, m); return 0;
    case OP_ROUTE: route(a, rows, m); return 0;
    case OP_EXPERT_MATMUL:
      if (!knownType(a[15])) return IB_BAD_OP;
      expertMatmul(a, rows, m);
      return 0;
    case OP_EXPERT_SUM: expertSum(a, rows, m); return 0;
    case OP_LAYER_NORM: layerNorm(a, rows, m); return 0;
    case OP_TOKEN_SHIFT: tokenShift(a, {rows, dims[a[2]], dims[DIM_KEPT]}, m); return 0;
    case OP_LERP: lerp(a, rows, m); return 0;
    case OP_POINTWISE:
      if (a[5] < 0 || a[5] >= FUNCTIONS) return IB_BAD_OP;
      pointwise(a, rows, m);
      return 0;
    case OP_GATED_ADD: gatedAdd(a, rows, m); return 0;
    case OP_WKV6: wkv6(a, {rows, dims[a[2]], dims[DIM_KEPT]}, m); return 0;
    case OP_WKV7_KEYS: wkv7Keys(a, rows, m); return 0;
    case OP_WKV7: wkv7(a, {rows, dims[a[2]], dims[DIM_KEPT]}, m); return 0;
    case OP_WKV7_OUTPUT: wkv7Output(a, rows, m); return 0;
    case OP_GELU_MUL: geluMul(a, rows, m); return 0;
    case OP_SCALE_ROWS: scaleRows(a, rows, m); return 0;
    case OP_TIMES_EACH: timesEach(a, rows, m); return 0;
    case OP_OUTPUT_ROWS: outputRows(a, rows, m); return 0;
    case OP_NORM_ADD: normAdd(a, rows, m); return 0;
    case OP_CAP_OUTPUTS: capOutputs(a, rows, m); return 0;
    default: return IB_BAD_OP;
  }
}

double threadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace

extern "C" __attribute__((visibility("hidden"))) int32_t IB_NAME(ib_run)(const int32_t* plan, int32_t n_ops,
                                                                         const int32_t* dims, const void* weights,
                                                                         float* act, void* cache,
                                                                         const int32_t* index, float* out) {
  const Memory m = {static_cast<const uint8_t*>(weights), act, static_cast<uint8_t*>(cache), index, out};
  for (int32_t i = 0; i < n_ops; i++) {
    const int32_t status = runOp(plan + i * 24, dims, m);
    if (status) return i << 8 | status;
  }
  return 0;
}

/* Independent chains of fma in registers, as many as hide its latency. */
extern "C" __attribute__((visibility("hidden"))) double IB_NAME(ib_peak)(double seconds) {
  constexpr int N = PEAK_CHAINS;
  V chain[N];
  for (int i = 0; i < N; i++) chain[i] = vset(static_cast<float>(i));
  volatile float factors[2] = {0.999f, 0.001f};
  const V f = vset(factors[0]), g = vset(factors[1]);
  const double begin = threadSeconds();
  constexpr int ROUNDS = 100000; /* long enough that reading the clock, a system call, does not count */
  double used = 0, rounds = 0;
  do {
    for (int round = 0; round < ROUNDS; round++) {
#pragma GCC unroll 24
      for (int i = 0; i < N; i++) chain[i] = vfma(chain[i], f, g);
    }
    rounds += ROUNDS;
    used = threadSeconds() - begin;
  } while (used < seconds);
  V sum = vzero();
  for (int i = 0; i < N; i++) sum = vadd(sum, chain[i]);
  volatile float sink = vfold(sum);
  (void)sink;
  return rounds * N * 32 / used * 1e-9;
}
