/* All kernels for `scalar`; compiled with that instruction set's flags and nothing else in it (see build.ts). */
#include "lanes_scalar.h"
#define IB_NAME(prefix) prefix##_scalar
#include "kernels.inl.h"
