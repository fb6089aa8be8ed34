// SPDX-License-Identifier: Apache-2.0
// snapshot_model.c: block "model": whose keys and values these are. They mean something to the same weights,
// tokens and rotation alone.
#include <string.h>

#include "engine/snapshot.h"

enum { FINGERPRINT = 16, ROPE_NUMBERS = 12 };

static const char *const rope_names[ROPE_NUMBERS] = {
    "base",           "dimensions",      "pairing",   "scaling",   "factor",           "original context",
    "low frequency factor", "high frequency factor", "beta fast", "beta slow", "attention factor", "extrapolation factor"};

static void rope_numbers(const gr_rope *rope, double out[ROPE_NUMBERS]) {
    const double numbers[ROPE_NUMBERS] = {rope->base,      rope->rotary_dim,     rope->pairing,
                                          rope->scaling,   rope->factor,         rope->original_context,
                                          rope->low_freq_factor, rope->high_freq_factor, rope->beta_fast,
                                          rope->beta_slow, rope->attention_factor, rope->extrapolation_factor};
    memcpy(out, numbers, sizeof numbers);
}

// Of the divisors of a rotation's frequencies; zeros when it has none.
static void rope_factors(const gr_rope *rope, uint8_t out[FINGERPRINT]) {
    uint8_t digest[32] = {0};
    gr_sha256 hash;
    if (rope->factors) {
        gr_sha256_init(&hash);
        gr_sha256_add(&hash, rope->factors, rope->rotary_dim / 2 * sizeof *rope->factors);
        gr_sha256_finish(&hash, digest);
    }
    memcpy(out, digest, FINGERPRINT);
}

void gr_snapshot_put_model(const gr_session *session, gr_strbuf *out) {
    const gr_model_source *source = session->model->source;
    uint8_t fingerprint[FINGERPRINT];
    double numbers[ROPE_NUMBERS];
    gr_model_file_fingerprint(source->file, fingerprint);
    gr_put_bytes(out, fingerprint, FINGERPRINT);
    gr_put_bytes(out, session->model->tokenizer->fingerprint, FINGERPRINT);
    gr_put_text(out, (gr_str){source->hparams.name, strlen(source->hparams.name)});
    gr_put_u32(out, source->hparams.vocab);
    gr_put_u32(out, ROPE_NUMBERS);
    rope_numbers(&source->hparams.rope, numbers);
    for (int i = 0; i < ROPE_NUMBERS; i++)
        gr_put_f64(out, numbers[i]);
    rope_factors(&source->hparams.rope, fingerprint);
    gr_put_bytes(out, fingerprint, FINGERPRINT);
}

// ---- Checking

static const char *spell(const uint8_t *fingerprint, char out[2 * FINGERPRINT + 1]) {
    for (int i = 0; fingerprint && i < FINGERPRINT; i++)
        snprintf(out + 2 * i, 3, "%02x", fingerprint[i]);
    return fingerprint ? out : "";
}

static gr_status check_fingerprint(const gr_snapshot_file *file, const char *what, const char *name, const uint8_t *saved,
                                   const char *own_name, const uint8_t *own, gr_error *error) {
    char a[2 * FINGERPRINT + 1], b[2 * FINGERPRINT + 1];
    if (saved && memcmp(saved, own, FINGERPRINT) == 0)
        return GR_OK;
    return gr_fail(error, GR_ERROR_INCOMPATIBLE, "snapshot", "%s: saved with another %s: '%.60s', fingerprint %s; expected '%.60s', %s",
                   file->path, what, name, spell(saved, a), own_name, spell(own, b));
}

static gr_status check_rope(const gr_snapshot_file *file, gr_snapshot_block *block, const gr_rope *rope, gr_error *error) {
    double own[ROPE_NUMBERS];
    uint8_t factors[FINGERPRINT];
    gr_status status = GR_OK;
    uint32_t count = gr_take_u32(block);
    if (count != ROPE_NUMBERS)
        return gr_snapshot_damaged(block, error, "%u numbers of a rotation, expected %d", count, ROPE_NUMBERS);
    rope_numbers(rope, own);
    for (int i = 0; i < ROPE_NUMBERS; i++) {
        double saved = gr_take_f64(block);
        if (status == GR_OK && saved != own[i])
            status = gr_fail(error, GR_ERROR_INCOMPATIBLE, "snapshot", "%s: saved with RoPE %s %.17g; expected %.17g",
                             file->path, rope_names[i], saved, own[i]);
    }
    const void *saved = gr_take_bytes(block, FINGERPRINT);
    rope_factors(rope, factors);
    if (status == GR_OK && saved && memcmp(saved, factors, FINGERPRINT) != 0)
        status = gr_fail(error, GR_ERROR_INCOMPATIBLE, "snapshot", "%s: saved with other RoPE factors", file->path);
    return status;
}

gr_status gr_snapshot_check_model(gr_snapshot_file *file, const gr_model *model, gr_error *error) {
    gr_snapshot_block *block = &file->blocks[GR_SNAPSHOT_MODEL];
    const gr_hparams *hparams = &model->source->hparams;
    uint8_t own[FINGERPRINT];
    char name[61] = "";
    const uint8_t *fingerprint = gr_take_bytes(block, FINGERPRINT), *tokenizer = gr_take_bytes(block, FINGERPRINT);
    gr_str text = gr_take_text(block);
    for (size_t i = 0; i < text.size && i < sizeof name - 1; i++)
        name[i] = text.data[i] >= ' ' && text.data[i] <= '~' ? text.data[i] : '?';
    uint32_t vocab = gr_take_u32(block);
    if (block->is_short)
        return gr_snapshot_block_end(block, error);
    gr_model_file_fingerprint(model->source->file, own);
    gr_status status = check_fingerprint(file, "model", name, fingerprint, hparams->name, own, error);
    if (status == GR_OK)
        status = check_fingerprint(file, "tokenizer", name, tokenizer, hparams->name, model->tokenizer->fingerprint, error);
    if (status == GR_OK && vocab != hparams->vocab)
        status = gr_fail(error, GR_ERROR_INCOMPATIBLE, "snapshot", "%s: saved with a vocabulary of %u; expected %u",
                         file->path, vocab, hparams->vocab);
    if (status == GR_OK)
        status = check_rope(file, block, &hparams->rope, error);
    return status == GR_OK ? gr_snapshot_block_end(block, error) : status;
}
