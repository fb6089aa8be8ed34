// SPDX-License-Identifier: Apache-2.0
// The products of attention for NEON: five queries by sixteen columns make twenty sums.
#include "kernels/vec_neon.h"

#define CPU_ATTEND_MOST 5

CPU_INLINE cpu_vf cpu_attend_load_bf16(const uint8_t *from) {
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(from)), 16));
}
CPU_INLINE cpu_vf cpu_attend_load_bytes(const uint8_t *from) {
    int32_t word;
    memcpy(&word, from, 4);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(word))))));
}
#include "kernels/attend.h"

void cpu_attend_neon(cpu_kernels *kernels) {
    cpu_attend_fill(kernels);
}
