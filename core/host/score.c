// SPDX-License-Identifier: Apache-2.0
// score.c: from the facts of a device to one number: tokens a second, answers included, of a
// nominal conversation with a nominal model. Prompts are bound by operations, answers by memory
// (roofline: Williams, Waterman, Patterson 2009). Neither names nor load order take part.
#include <string.h>

#include "host/internal.h"

static const double model_bytes = 4e9,
                    model_operations = 14e9; // a token; 7 billion weights in 4 bits
static const double prompt_tokens = 512, answer_tokens = 128, chunk_tokens = 512;
static const double assumed_bandwidth = 2e9, assumed_rate = 1e9; // where a fact is unknown

static double at_least(double a, double b) {
    return a > b ? a : b;
}

// Operations a second on weights of `dtype`: quantised ones may use 8-bit products, all may be
// widened.
static double rate_for(const gr_device_facts *f, gr_dtype dtype) {
    double rate = (double)f->f32_operations_per_second;
    if (dtype != GR_DTYPE_F32)
        rate = at_least(rate, (double)f->f16_operations_per_second);
    if (dtype != GR_DTYPE_F32 && dtype != GR_DTYPE_F16 && dtype != GR_DTYPE_BF16)
        rate = at_least(rate, (double)f->int8_operations_per_second);
    return rate > 0 ? rate : assumed_rate;
}

double gr_score_seconds(const gr_device_facts *facts, gr_dtype dtype, uint64_t bytes,
                        uint64_t operations) {
    double bandwidth = facts->bandwidth_bytes_per_second ? (double)facts->bandwidth_bytes_per_second
                                                         : assumed_bandwidth;
    return at_least((double)bytes / bandwidth, (double)operations / rate_for(facts, dtype));
}

static void explain_speed(const gr_device_facts *f, double prompt_rate, double answer_rate,
                          gr_strbuf *text) {
    bool rates = f->int8_operations_per_second || f->f16_operations_per_second ||
                 f->f32_operations_per_second;
    if (!f->bandwidth_bytes_per_second && !rates) {
        gr_strbuf_text(text, "speed unknown, so little is assumed");
        return;
    }
    gr_strbuf_format(text,
                     "a 7-billion, 4-bit model would read about %.3g and write about %.3g tokens/s",
                     prompt_rate, answer_rate);
    gr_strbuf_format(
        text, f->bandwidth_bytes_per_second ? " (memory %.3g GB/s" : " (memory taken as %.3g GB/s",
        f->bandwidth_bytes_per_second ? (double)f->bandwidth_bytes_per_second / 1e9
                                      : assumed_bandwidth / 1e9);
    gr_strbuf_format(text, rates ? ", %.3g Gop/s on 4-bit weights)" : ", rate taken as %.3g Gop/s)",
                     rate_for(f, GR_DTYPE_Q4_0) / 1e9);
}

static void explain(const gr_device_facts *f, double prompt_rate, double answer_rate,
                    gr_strbuf *text) {
    explain_speed(f, prompt_rate, answer_rate, text);
    if (f->memory_free_bytes)
        gr_strbuf_format(text, "; %.1f GiB free", (double)f->memory_free_bytes / (double)(1 << 30));
    if (f->flags & GR_DEVICE_FALLBACK)
        gr_strbuf_text(text, "; correct rather than fast, so it comes after every other device");
}

void gr_score_device(gr_device_entry *entry, gr_strbuf *reason) {
    const gr_device_facts *f = &entry->facts;
    double chunk = gr_score_seconds(f, GR_DTYPE_Q4_0, (uint64_t)model_bytes,
                                    (uint64_t)(model_operations * chunk_tokens));
    double prompt = chunk / chunk_tokens;
    double answer =
        gr_score_seconds(f, GR_DTYPE_Q4_0, (uint64_t)model_bytes, (uint64_t)model_operations);
    double speed =
        (prompt_tokens + answer_tokens) / (prompt * prompt_tokens + answer * answer_tokens);
    // Fallbacks keep their order among themselves, below zero.
    entry->score = f->flags & GR_DEVICE_FALLBACK ? -1 / (1 + speed) : speed;
    explain(f, 1 / prompt, 1 / answer, reason);
}

static int compare_u64(uint64_t a, uint64_t b) {
    return (a < b) - (a > b); // larger first
}

// Equal scores: more memory first, then the nearer number. Devices that agree in all facts are as
// good as each other; their texts only make the order the same every time.
int gr_score_compare(const void *a, const void *b) {
    const gr_device_entry *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    int order = compare_u64(x->facts.memory_free_bytes, y->facts.memory_free_bytes);
    order = order ? order : compare_u64(x->facts.memory_bytes, y->facts.memory_bytes);
    order = order ? order : compare_u64(y->ordinal, x->ordinal);
    order = order ? order : strcmp(x->facts.description, y->facts.description);
    order = order ? order : strcmp(x->backend->build_id, y->backend->build_id);
    return order ? order : strcmp(x->facts.name, y->facts.name);
}
