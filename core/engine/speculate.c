// SPDX-License-Identifier: Apache-2.0
// speculate.c: several tokens a step. Guesses stand behind the last token and are evaluated with it, so that
// one step gives the logits behind each. The sampler chooses from them in order, as it would have alone (its
// draws depend on seed and position, not on how many there were), until a choice is not what was guessed: the
// answer is the same with guesses or without. Leviathan, Kalman and Matias 2023 describe the scheme for drawn
// numbers that are not keyed; Saxena 2023 takes guesses from the text before (prompt lookup).
#include <stdlib.h>
#include <string.h>

#include "engine/site.h"

enum { LONGEST_NGRAM = 4, SHORTEST_NGRAM = 2, MOST_GUESSES = 32 };

typedef struct chosen {
    gr_token token;
    double log_probability;
} chosen;

struct gr_speculation {
    gr_session *draft; // retained; NULL: guesses come from the text before
    uint32_t most;
    uint64_t first;    // position of the first choice of this step: behind the last real token
    chosen choices[MOST_GUESSES + 1];
    uint32_t count, taken, guesses;
    bool ended;        // a choice was not what was guessed
    gr_status status;
    gr_error error;
};

static uint32_t reserve_of(const gr_session *session) {
    return session->model->cache_options.reserve;
}

static gr_status check_draft(const gr_request *request, gr_error *error) {
    const gr_session *draft = request->options.draft;
    uint32_t theirs = draft->model->source->hparams.vocab, ours = request->session->model->source->hparams.vocab;
    if (draft == request->session)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine", "a session cannot guess for itself");
    if (draft->request)
        return gr_fail(error, GR_ERROR_BUSY, "engine", "the session that guesses is generating");
    return theirs == ours ? GR_OK
                          : gr_fail(error, GR_ERROR_INCOMPATIBLE, "engine",
                                    "the model that guesses has a vocabulary of %u tokens, this one of %u", theirs, ours);
}

gr_status gr_speculation_create(gr_request *request, gr_error *error) {
    const gr_generate_options *options = &request->options;
    uint32_t most = options->guesses < reserve_of(request->session) ? options->guesses : reserve_of(request->session) - 1;
    gr_status status = options->draft ? check_draft(request, error) : GR_OK;
    if (status != GR_OK || !most)
        return status;
    if (options->choose || options->guide || options->top_tokens)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, "engine",
                       "guesses go with a sampler chain alone: no choose function, no guide, no list of likely tokens");
    gr_speculation *s = request->speculation = calloc(1, sizeof *s);
    if (!s)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "engine", "no memory for guesses");
    s->most = most < MOST_GUESSES ? most : MOST_GUESSES;
    gr_error_init(&s->error);
    if (options->draft) {
        s->draft = gr_session_retain(options->draft);
        s->draft->paused = true; // it is stepped here alone
    }
    return GR_OK;
}

void gr_speculation_destroy(gr_request *request) {
    if (!request->speculation)
        return;
    gr_session_release(request->speculation->draft);
    free(request->speculation);
    request->speculation = NULL;
}

// ---- Guessing

// What followed the latest earlier occurrence of the text's last tokens.
static uint32_t look_up(const gr_tokens *tokens, gr_token *out_guesses, uint32_t most) {
    for (size_t n = LONGEST_NGRAM; n >= SHORTEST_NGRAM; n--) {
        if (tokens->count < n + 1)
            continue;
        const gr_token *tail = tokens->data + tokens->count - n;
        for (size_t at = tokens->count - n; at-- > 0;) {
            if (memcmp(tokens->data + at, tail, n * sizeof *tail) != 0)
                continue;
            uint32_t count = 0;
            for (size_t i = at + n; i < tokens->count && count < most; i++)
                out_guesses[count++] = tokens->data[i];
            return count;
        }
    }
    return 0;
}

static gr_status run_draft(gr_session *draft, gr_error *error) {
    gr_batch alone = {.sessions = {draft}, .count = 1};
    gr_status status = GR_OK;
    while (status == GR_OK && gr_session_waiting(draft)) {
        size_t waiting = gr_session_waiting(draft);
        draft->batch_rows = alone.rows = waiting < draft->model->chunk ? (uint32_t)waiting : draft->model->chunk;
        status = gr_kv_seq_reserve(&draft->pages, alone.rows, error);
        if (status == GR_OK)
            status = gr_step_run(draft->site, &alone, error);
    }
    return status;
}

static gr_status follow(gr_session *draft, const gr_tokens *tokens, gr_error *error) {
    size_t common = 0;
    while (common < draft->tokens.count && common < tokens->count && draft->tokens.data[common] == tokens->data[common])
        common++;
    gr_status status = common < draft->tokens.count ? gr_session_set_length(draft, common, error) : GR_OK;
    return status == GR_OK ? gr_session_append_tokens(draft, tokens->data + common, tokens->count - common, error) : status;
}

static gr_status ask_draft(gr_speculation *s, const gr_tokens *tokens, gr_token *out_guesses, uint32_t most,
                           uint32_t *out_count, gr_error *error) {
    uint32_t vocab = s->draft->model->source->hparams.vocab;
    *out_count = 0;
    if (s->draft->request) // it has begun an answer of its own
        return GR_OK;
    gr_status status = follow(s->draft, tokens, error);
    for (; status == GR_OK && *out_count < most;) {
        status = run_draft(s->draft, error);
        if (status != GR_OK)
            break;
        gr_token best = 0;
        for (uint32_t i = 1; i < vocab; i++)
            best = s->draft->logits[i] > s->draft->logits[best] ? (gr_token)i : best;
        out_guesses[(*out_count)++] = best;
        status = *out_count < most ? gr_session_append_tokens(s->draft, &best, 1, error) : GR_OK;
    }
    s->draft->paused = true; // appending wakes a session
    bool full = status == GR_ERROR_OUT_OF_RANGE || status == GR_ERROR_OUT_OF_MEMORY; // its context, or its cache
    return full ? GR_OK : status; // no more guesses
}

// ---- Choosing, while the step hands out rows

static void on_row(void *context, uint64_t position, const float *logits, uint32_t vocab) {
    gr_request *request = context;
    gr_speculation *s = request->speculation;
    const gr_session *session = request->session;
    (void)vocab;
    if (s->ended || s->status != GR_OK || s->count > s->guesses)
        return;
    chosen *choice = &s->choices[s->count];
    s->status = gr_request_choose(request, logits, position + 1, &choice->token, &choice->log_probability, &s->error);
    s->count += s->status == GR_OK;
    s->ended = position + 1 >= session->tokens.count || session->tokens.data[position + 1] != choice->token;
}

gr_status gr_speculate(gr_request *request, gr_error *error) {
    gr_speculation *s = request->speculation;
    gr_session *session = request->session;
    gr_token guesses[MOST_GUESSES];
    uint64_t room = session->context - session->tokens.count;
    uint32_t most = s->most < room ? s->most : (uint32_t)room, count = 0;
    if (request->options.max_tokens && request->options.max_tokens - request->tokens.count <= most)
        most = request->options.max_tokens - (uint32_t)request->tokens.count - 1;
    gr_status status = GR_OK;
    if (request->healed < request->heal.size) // what may follow depends on what is taken
        return GR_OK;
    if (most && s->draft)
        status = ask_draft(s, &session->tokens, guesses, most, &count, error);
    else if (most)
        count = look_up(&session->tokens, guesses, most);
    if (status != GR_OK || !count)
        return status;
    s->first = session->tokens.count;
    s->count = s->taken = 0;
    s->guesses = count;
    s->ended = false;
    s->status = GR_OK;
    status = gr_session_log(session, guesses, count, error);
    if (status != GR_OK)
        return status;
    session->hook = on_row;
    session->hook_context = request;
    session->observed = s->first - 1;
    request->guessed += count;
    return GR_OK;
}

bool gr_speculation_next(gr_request *request, gr_token *out_token, double *out_log_probability, bool *out_present,
                         gr_status *out_status, gr_error *error) {
    gr_speculation *s = request->speculation;
    gr_session *session = request->session;
    *out_status = GR_OK;
    if (!s || (s->taken == s->count && s->status == GR_OK))
        return false;
    session->hook = NULL;
    if (s->taken == s->count) {
        *out_status = gr_fail(error, s->status, s->error.origin, "%s", s->error.message);
        return true;
    }
    uint64_t position = s->first + s->taken;
    *out_token = s->choices[s->taken].token;
    *out_log_probability = s->choices[s->taken++].log_probability;
    *out_present = position < session->tokens.count && session->tokens.data[position] == *out_token;
    request->guessed_right += *out_present;
    if (!*out_present && position < session->tokens.count)
        *out_status = gr_session_cut(session, position, error);
    return true;
}

gr_status gr_speculation_end(gr_request *request, gr_error *error) {
    gr_session *session = request->session;
    uint64_t kept = request->prompt_tokens + request->tokens.count;
    if (!request->speculation)
        return GR_OK;
    if (session->hook_context == request)
        session->hook = NULL;
    request->speculation->count = request->speculation->taken = 0;
    // Where a guess was wrong the logits were another token's, and none came in its place.
    bool whole = kept == session->tokens.count && (gr_session_waiting(session) || session->logits_behind == kept);
    return whole ? GR_OK : gr_session_set_length(session, kept, error);
}
