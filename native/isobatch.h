/*
 * isobatch native kernels: the C ABI. Any language that can call C can run a plan (native/plan.ts says what plans
 * are and what every operation computes). All implementations give the same bits.
 *
 * Thread-safe: calls share nothing but per-thread scratch memory. Pointers need no more than 4-byte alignment.
 * The floating-point environment is set on entry (round to nearest, denormals kept) and restored on return.
 */
#ifndef ISOBATCH_H
#define ISOBATCH_H

#include <stdint.h>

#if defined(_WIN32)
#define IB_API __declspec(dllexport)
#else
#define IB_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Named implementations, worst to best. */
enum { IB_SCALAR = 0, IB_AVX2 = 1, IB_AVX512 = 2 };

/* Statuses of a run: 0, or (index of the failing op << 8) | code. */
enum { IB_KV_OVERFLOW = 1, IB_BAD_OP = 2 };

/* Version of this interface and of the plan format. */
IB_API int32_t ib_abi_version(void);

/* The implementations that this library holds and this CPU runs: bit 1 << IB_*. */
IB_API int32_t ib_isas(void);

/*
 * Runs n_ops records of 24 int32 with one implementation. `dims` has 8 entries. weights, cache: bytes; act, out:
 * floats; index: int32. An implementation that this CPU cannot run gives IB_BAD_OP of op 0.
 */
IB_API int32_t ib_run(int32_t isa, const int32_t* plan, int32_t n_ops, const int32_t* dims, const void* weights,
                      float* act, void* cache, const int32_t* index, float* out);

/* The same through a record of seven pointers, in the order plan, dims, weights, act, cache, index, out. */
IB_API int32_t ib_run_bound(int32_t isa, int32_t n_ops, const uint64_t* pointers);

/*
 * Peak rate of fused multiply-adds of one implementation on this thread, in GFLOP/s of thread CPU time: independent
 * chains in registers, for about `seconds`. 0 if the CPU cannot run it.
 */
IB_API double ib_fma_peak(int32_t isa, double seconds);

/* CPU time of the calling thread in seconds: the clock of the benchmarks. */
IB_API double ib_thread_seconds(void);

/* The raw floating-point control word (MXCSR, FPCR; 0 elsewhere): read, and set; for the tests. */
IB_API uint64_t ib_float_control(void);
IB_API void ib_set_float_control(uint64_t word);

#ifdef __cplusplus
}
#endif
#endif
