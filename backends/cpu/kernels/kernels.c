// SPDX-License-Identifier: Apache-2.0
// kernels.c: fills the kernel table: plain C first, then what the processor has.
#include "kernels/kernels.h"

#include <string.h>

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

static const cpu_kernels baseline = {
    .isa = "baseline",
    .expand = {[GR_DTYPE_Q4_0] = expand_q4_0_baseline,
               [GR_DTYPE_Q4_1] = expand_q4_1_baseline,
               [GR_DTYPE_Q5_0] = expand_q5_0_baseline,
               [GR_DTYPE_Q5_1] = expand_q5_1_baseline,
               [GR_DTYPE_Q8_0] = expand_q8_0_baseline,
               [GR_DTYPE_Q2_K] = expand_q2_k_baseline,
               [GR_DTYPE_Q3_K] = expand_q3_k_baseline,
               [GR_DTYPE_Q4_K] = expand_q4_k_baseline,
               [GR_DTYPE_Q5_K] = expand_q5_k_baseline,
               [GR_DTYPE_Q6_K] = expand_q6_k_baseline,
               [GR_DTYPE_IQ4_NL] = expand_iq4_nl_baseline,
               [GR_DTYPE_IQ4_XS] = expand_iq4_xs_baseline},
    .quantise = quantise_f32_baseline,
    .dot = {[GR_DTYPE_F32] = dot_f32_baseline,
            [GR_DTYPE_F16] = dot_f16_baseline,
            [GR_DTYPE_BF16] = dot_bf16_baseline},
    .f16_to_f32 = f16_to_f32_baseline,
    .bf16_to_f32 = bf16_to_f32_baseline,
    .i8_to_f32 = i8_to_f32_baseline,
    .f32_to_f16 = f32_to_f16_baseline,
    .f32_to_bf16 = f32_to_bf16_baseline,
    .rms_norm = rms_norm_f32_baseline,
    .rope_half = rope_half_f32_baseline,
    .rope_interleaved = rope_interleaved_f32_baseline,
    .glu_silu = glu_silu_f32_baseline,
    .attend_keys = {[GR_DTYPE_F32] = attend_keys_f32_baseline,
                    [GR_DTYPE_F16] = attend_keys_f16_baseline,
                    [GR_DTYPE_BF16] = attend_keys_bf16_baseline,
                    [GR_DTYPE_Q8_0] = attend_keys_q8_0_baseline},
    .attend_values = {[GR_DTYPE_F32] = attend_values_f32_baseline,
                      [GR_DTYPE_F16] = attend_values_f16_baseline,
                      [GR_DTYPE_BF16] = attend_values_bf16_baseline,
                      [GR_DTYPE_Q8_0] = attend_values_q8_0_baseline},
    .attend_largest = attend_largest_f32_baseline,
    .attend_exp = attend_exp_f32_baseline,
};

#if defined(__x86_64__)
static void fill_avx2(cpu_kernels *k) {
    k->isa = "avx2";
    k->expand[GR_DTYPE_Q4_0] = expand_q4_0_avx2;
    k->expand[GR_DTYPE_Q4_1] = expand_q4_1_avx2;
    k->expand[GR_DTYPE_Q5_0] = expand_q5_0_avx2;
    k->expand[GR_DTYPE_Q5_1] = expand_q5_1_avx2;
    k->expand[GR_DTYPE_Q8_0] = expand_q8_0_avx2;
    k->expand[GR_DTYPE_Q4_K] = expand_q4_k_avx2;
    k->expand[GR_DTYPE_Q5_K] = expand_q5_k_avx2;
    k->expand[GR_DTYPE_Q6_K] = expand_q6_k_avx2;
    k->expand[GR_DTYPE_IQ4_NL] = expand_iq4_nl_avx2;
    k->expand[GR_DTYPE_IQ4_XS] = expand_iq4_xs_avx2;
    cpu_products_avx2(k);
    k->quantise = quantise_f32_avx2;
    k->dot[GR_DTYPE_F32] = dot_f32_avx2;
    k->dot[GR_DTYPE_F16] = dot_f16_avx2;
    k->dot[GR_DTYPE_BF16] = dot_bf16_avx2;
    k->mul[GR_DTYPE_F32] = mul_f32_avx2;
    k->mul[GR_DTYPE_F16] = mul_f16_avx2;
    k->mul[GR_DTYPE_BF16] = mul_bf16_avx2;
    k->add_lanes = add_lanes_avx2;
    k->f16_to_f32 = f16_to_f32_avx2;
    k->bf16_to_f32 = bf16_to_f32_avx2;
    k->i8_to_f32 = i8_to_f32_avx2;
    k->f32_to_f16 = f32_to_f16_avx2;
    k->rms_norm = rms_norm_f32_avx2;
    k->rope_half = rope_half_f32_avx2;
    k->rope_interleaved = rope_interleaved_f32_avx2;
    k->glu_silu = glu_silu_f32_avx2;
    cpu_attend_avx2(k);
    k->attend_largest = attend_largest_f32_avx2;
    k->attend_exp = attend_exp_f32_avx2;
}

static void fill_avx512(cpu_kernels *k) {
    k->isa = "avx512";
    // Sums of theirs would have other lanes than the dots below; oneDNN serves many rows.
    memset(k->mul, 0, sizeof k->mul);
    k->dot[GR_DTYPE_F32] = dot_f32_avx512;
    k->dot[GR_DTYPE_F16] = dot_f16_avx512;
    k->dot[GR_DTYPE_BF16] = dot_bf16_avx512;
    k->f16_to_f32 = f16_to_f32_avx512;
    k->bf16_to_f32 = bf16_to_f32_avx512;
    k->glu_silu = glu_silu_f32_avx512;
    cpu_attend_avx512(k);
    k->attend_exp = attend_exp_f32_avx512;
}

// Whether this process may use tile registers. Linux gives them to those that ask, once for all threads
// (Documentation/arch/x86/xstate.rst).
static bool tiles_allowed(void) {
#ifdef __linux__
    enum { REQUEST = 0x1023, TILE_DATA = 18 }; // ARCH_REQ_XCOMP_PERM and its component
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
#else
    return false;
#endif
}
#endif

#if defined(__aarch64__)
static void fill_neon(cpu_kernels *k) {
    k->isa = "neon";
    cpu_products_neon(k);
    k->quantise = quantise_f32_neon;
    k->dot[GR_DTYPE_F32] = dot_f32_neon;
    k->dot[GR_DTYPE_F16] = dot_f16_neon;
    k->dot[GR_DTYPE_BF16] = dot_bf16_neon;
    k->mul[GR_DTYPE_F32] = mul_f32_neon;
    k->mul[GR_DTYPE_F16] = mul_f16_neon;
    k->mul[GR_DTYPE_BF16] = mul_bf16_neon;
    k->add_lanes = add_lanes_neon;
    k->f16_to_f32 = f16_to_f32_neon;
    k->bf16_to_f32 = bf16_to_f32_neon;
    k->i8_to_f32 = i8_to_f32_neon;
    k->f32_to_f16 = f32_to_f16_neon;
    k->rms_norm = rms_norm_f32_neon;
    k->rope_half = rope_half_f32_neon;
    k->rope_interleaved = rope_interleaved_f32_neon;
    k->glu_silu = glu_silu_f32_neon;
    cpu_attend_neon(k);
    k->attend_largest = attend_largest_f32_neon;
    k->attend_exp = attend_exp_f32_neon;
}
#endif

// What the environment may name, each with all that stands before it.
static const char *const isas[] = {
    "baseline",
#if defined(__x86_64__)
    "avx2", "avx2vnni", "avx512", "avx512amx",
#elif defined(__aarch64__)
    "neon", "neondot",
#endif
};
enum { ISAS = sizeof isas / sizeof *isas };

const char *cpu_isa_name(unsigned level) {
    return level < ISAS ? isas[level] : NULL;
}

// How far the environment lets us go; all the way with a name that is unknown.
static unsigned level_of(const char *isa, bool *out_known) {
    *out_known = !isa || !*isa;
    for (unsigned i = 0; isa && i < ISAS; i++) {
        if (strcmp(isa, isas[i]))
            continue;
        *out_known = true;
        return i;
    }
    return ISAS - 1;
}

bool cpu_isa_known(const char *isa) {
    bool known;
    level_of(isa, &known);
    return known;
}

void cpu_kernels_init(gr_cpu_features features, const char *isa, cpu_kernels *out_kernels) {
    *out_kernels = baseline;
    out_kernels->features = features;
    bool known;
    unsigned level = level_of(isa, &known);
    (void)level;
#if defined(__x86_64__)
    const gr_cpu_features avx2 = GR_CPU_AVX | GR_CPU_AVX2 | GR_CPU_FMA | GR_CPU_F16C;
    if (level < 1 || (features & avx2) != avx2)
        return;
    fill_avx2(out_kernels);
    if (level >= 2 && features & GR_CPU_AVX_VNNI)
        cpu_products_avxvnni(out_kernels);
    if (level < 3 || !(features & GR_CPU_AVX512))
        return;
    fill_avx512(out_kernels);
    if (!(features & GR_CPU_AVX512_VNNI))
        return;
    cpu_products_avx512vnni(out_kernels);
    const gr_cpu_features amx = GR_CPU_AMX_TILE | GR_CPU_AMX_INT8;
    if (level >= 4 && (features & amx) == amx && tiles_allowed())
        cpu_products_avx512amx(out_kernels);
#elif defined(__aarch64__)
    if (level < 1 || !(features & GR_CPU_NEON))
        return;
    fill_neon(out_kernels);
    if (level >= 2 && features & GR_CPU_NEON_DOTPROD)
        cpu_products_neondot(out_kernels);
#endif
}
