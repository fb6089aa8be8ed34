// SPDX-License-Identifier: Apache-2.0
// inline.h: how the words of vec_*.h and f32x8_*.h, and what is written in them, are compiled.
#ifndef GREGALE_BACKENDS_CPU_INLINE_H
#define GREGALE_BACKENDS_CPU_INLINE_H

#if defined(CPU_EMULATED) || defined(CPU_SANITIZED) // slow anyway, and quicker to compile
#define CPU_INLINE static inline
#define CPU_UNROLL
#else
#define CPU_INLINE static inline __attribute__((always_inline))
#ifdef __clang__ // loops whose bounds are constants once inlined
#define CPU_UNROLL _Pragma("clang loop unroll(full)")
#else
#define CPU_UNROLL _Pragma("GCC unroll 64")
#endif
#endif

#endif
