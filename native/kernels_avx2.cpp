/* All kernels for `avx2`; compiled with that instruction set's flags and nothing else in it (see build.ts). */
#include "lanes_avx2.h"
#define IB_NAME(prefix) prefix##_avx2
#include "kernels.inl.h"
