// SPDX-License-Identifier: Apache-2.0
// cpuid.c: processor features that the operating system has turned on. x86: Intel SDM volume 2,
// CPUID and XGETBV; a vector feature counts only when XCR0 says that its registers are saved. Arm:
// the kernel's hardware capability bits.
#include "host/internal.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

static bool bit(uint32_t word, unsigned index) {
    return word >> index & 1;
}

gr_cpu_features gr_cpuid_decode(const gr_cpuid_words *w) {
    const uint32_t avx512 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31; // F DQ CD BW VL
    gr_cpu_features f = 0;
    bool saved = bit(w->leaf1_ecx, 27); // OSXSAVE
    bool ymm = saved && (w->xcr0 & 0x6) == 0x6;
    bool zmm = ymm && (w->xcr0 & 0xe0) == 0xe0;
    bool tile = saved && (w->xcr0 & 0x60000) == 0x60000;
    f |= bit(w->leaf1_ecx, 20) ? GR_CPU_SSE42 : 0;
    f |= bit(w->leaf7_ebx, 8) ? GR_CPU_BMI2 : 0;
    if (ymm && bit(w->leaf1_ecx, 28)) {
        f |= GR_CPU_AVX;
        f |= bit(w->leaf7_ebx, 5) ? GR_CPU_AVX2 : 0;
        f |= bit(w->leaf1_ecx, 12) ? GR_CPU_FMA : 0;
        f |= bit(w->leaf1_ecx, 29) ? GR_CPU_F16C : 0;
        f |= bit(w->leaf7_1_eax, 4) ? GR_CPU_AVX_VNNI : 0;
    }
    if (zmm && (w->leaf7_ebx & avx512) == avx512) {
        f |= GR_CPU_AVX512;
        f |= bit(w->leaf7_ecx, 11) ? GR_CPU_AVX512_VNNI : 0;
        f |= bit(w->leaf7_1_eax, 5) ? GR_CPU_AVX512_BF16 : 0;
        f |= bit(w->leaf7_edx, 23) ? GR_CPU_AVX512_FP16 : 0;
        f |= bit(w->leaf7_ecx, 1) ? GR_CPU_AVX512_VBMI : 0;
    }
    if (tile && bit(w->leaf7_edx, 24)) {
        f |= GR_CPU_AMX_TILE;
        f |= bit(w->leaf7_edx, 25) ? GR_CPU_AMX_INT8 : 0;
        f |= bit(w->leaf7_edx, 22) ? GR_CPU_AMX_BF16 : 0;
    }
    return f;
}

#if defined(__x86_64__) || defined(__i386__)

static uint64_t read_xcr0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

gr_cpu_features gr_cpu_features_read(void) {
    gr_cpuid_words words = {0};
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return 0;
    words.leaf1_ecx = c;
    if (bit(c, 27))
        words.xcr0 = read_xcr0();
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        words.leaf7_ebx = b;
        words.leaf7_ecx = c;
        words.leaf7_edx = d;
        if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d))
            words.leaf7_1_eax = a;
    }
    return gr_cpuid_decode(&words);
}

#elif defined(__aarch64__) && defined(__linux__)

gr_cpu_features gr_cpu_features_read(void) {
    // Bits of uapi/asm/hwcap.h, which older headers lack in part.
    unsigned long first = getauxval(AT_HWCAP), second = getauxval(AT_HWCAP2);
    gr_cpu_features f = 0;
    f |= first >> 1 & 1 ? GR_CPU_NEON : 0;          // ASIMD
    f |= first >> 20 & 1 ? GR_CPU_NEON_DOTPROD : 0; // ASIMDDP
    f |= first >> 22 & 1 ? GR_CPU_SVE : 0;
    f |= second >> 13 & 1 ? GR_CPU_NEON_I8MM : 0;
    f |= second >> 14 & 1 ? GR_CPU_NEON_BF16 : 0;
    return f;
}

#elif defined(__aarch64__) && defined(__APPLE__)

static bool has(const char *name) {
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, NULL, 0) == 0 && value;
}

gr_cpu_features gr_cpu_features_read(void) {
    gr_cpu_features f = GR_CPU_NEON;
    f |= has("hw.optional.arm.FEAT_DotProd") ? GR_CPU_NEON_DOTPROD : 0;
    f |= has("hw.optional.arm.FEAT_I8MM") ? GR_CPU_NEON_I8MM : 0;
    f |= has("hw.optional.arm.FEAT_BF16") ? GR_CPU_NEON_BF16 : 0;
    return f;
}

#else

gr_cpu_features gr_cpu_features_read(void) {
    return 0;
}

#endif

void gr_cpu_features_text(gr_cpu_features features, gr_strbuf *text) {
    static const struct {
        gr_cpu_features mask;
        const char *name;
    } names[] = {
        {GR_CPU_SSE42, "sse4.2"},
        {GR_CPU_AVX, "avx"},
        {GR_CPU_AVX2, "avx2"},
        {GR_CPU_FMA, "fma"},
        {GR_CPU_F16C, "f16c"},
        {GR_CPU_BMI2, "bmi2"},
        {GR_CPU_AVX_VNNI, "avx-vnni"},
        {GR_CPU_AVX512, "avx512"},
        {GR_CPU_AVX512_VNNI, "avx512-vnni"},
        {GR_CPU_AVX512_BF16, "avx512-bf16"},
        {GR_CPU_AVX512_FP16, "avx512-fp16"},
        {GR_CPU_AVX512_VBMI, "avx512-vbmi"},
        {GR_CPU_AMX_TILE, "amx-tile"},
        {GR_CPU_AMX_INT8, "amx-int8"},
        {GR_CPU_AMX_BF16, "amx-bf16"},
        {GR_CPU_NEON, "neon"},
        {GR_CPU_NEON_DOTPROD, "dotprod"},
        {GR_CPU_NEON_I8MM, "i8mm"},
        {GR_CPU_NEON_BF16, "neon-bf16"},
        {GR_CPU_SVE, "sve"},
    };
    const char *space = "";
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (features & names[i].mask) {
            gr_strbuf_format(text, "%s%s", space, names[i].name);
            space = " ";
        }
    }
}
