/*
 * Entry points of the native library: which implementations the CPU runs, the floating-point environment around a
 * run, and the clock. The kernels themselves are in one translation unit an instruction set (kernels_*.cpp).
 */
#include "isobatch.h"

#include <time.h>

extern "C" {
#define IB_IMPLEMENTATION(name)                                                                                   \
  int32_t ib_run_##name(const int32_t*, int32_t, const int32_t*, const void*, float*, void*, const int32_t*,     \
                        float*);                                                                                  \
  double ib_peak_##name(double);
IB_IMPLEMENTATION(scalar)
#if defined(__x86_64__)
IB_IMPLEMENTATION(avx2)
IB_IMPLEMENTATION(avx512)
#endif
}

#if defined(__x86_64__)
#include <xmmintrin.h>
static uint64_t readControl() { return _mm_getcsr(); }
static void writeControl(uint64_t word) { _mm_setcsr(static_cast<unsigned>(word)); }
static constexpr uint64_t CONTROL = 0x1f80; /* all exceptions masked, to nearest, no FTZ, no DAZ */
#elif defined(__aarch64__)
static uint64_t readControl() {
  uint64_t word;
  asm volatile("mrs %0, fpcr" : "=r"(word));
  return word;
}
static void writeControl(uint64_t word) { asm volatile("msr fpcr, %0" : : "r"(word)); }
static constexpr uint64_t CONTROL = 0;
#else
static uint64_t readControl() { return 0; }
static void writeControl(uint64_t) {}
static constexpr uint64_t CONTROL = 0;
#endif

namespace {

/* Sets the environment of the bit contract; puts the caller's back. */
struct FloatEnvironment {
  uint64_t saved = readControl();
  FloatEnvironment() { writeControl(CONTROL); }
  ~FloatEnvironment() { writeControl(saved); }
};

int32_t findIsas() {
  int32_t mask = 1 << IB_SCALAR;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (avx2) mask |= 1 << IB_AVX2;
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    mask |= 1 << IB_AVX512;
  }
#endif
  return mask;
}

const int32_t isas = findIsas();

bool runs(int32_t isa) { return isa >= 0 && isa < 31 && (isas >> isa & 1); }

}  // namespace

extern "C" {

int32_t ib_abi_version(void) { return 1; }

int32_t ib_isas(void) { return isas; }

int32_t ib_run(int32_t isa, const int32_t* plan, int32_t n_ops, const int32_t* dims, const void* weights, float* act,
               void* cache, const int32_t* index, float* out) {
  if (!runs(isa)) return IB_BAD_OP;
  const FloatEnvironment environment;
#if defined(__x86_64__)
  if (isa == IB_AVX512) return ib_run_avx512(plan, n_ops, dims, weights, act, cache, index, out);
  if (isa == IB_AVX2) return ib_run_avx2(plan, n_ops, dims, weights, act, cache, index, out);
#endif
  return ib_run_scalar(plan, n_ops, dims, weights, act, cache, index, out);
}

int32_t ib_run_bound(int32_t isa, int32_t n_ops, const uint64_t* pointers) {
  return ib_run(isa, reinterpret_cast<const int32_t*>(pointers[0]), n_ops,
                reinterpret_cast<const int32_t*>(pointers[1]), reinterpret_cast<const void*>(pointers[2]),
                reinterpret_cast<float*>(pointers[3]), reinterpret_cast<void*>(pointers[4]),
                reinterpret_cast<const int32_t*>(pointers[5]), reinterpret_cast<float*>(pointers[6]));
}

double ib_fma_peak(int32_t isa, double seconds) {
  if (!runs(isa)) return 0;
  const FloatEnvironment environment;
#if defined(__x86_64__)
  if (isa == IB_AVX512) return ib_peak_avx512(seconds);
  if (isa == IB_AVX2) return ib_peak_avx2(seconds);
#endif
  return ib_peak_scalar(seconds);
}

double ib_thread_seconds(void) {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

uint64_t ib_float_control(void) { return readControl(); }
void ib_set_float_control(uint64_t word) { writeControl(word); }

}
