/* All kernels for `avx512`; compiled with that instruction set's flags and nothing else in it (see build.ts). */
#include "lanes_avx512.h"
#define IB_NAME(prefix) prefix##_avx512
#include "kernels.inl.h"
