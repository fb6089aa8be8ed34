// SPDX-License-Identifier: Apache-2.0
// record.c: notes models, answers and choices, and compares them with those of an earlier run.
#include "script/record.h"

#include <inttypes.h>
#include <string.h>

#include "base/hash.h"
#include "base/strbuf.h"
#include "script/request.h"

void gr_script_set_record(gr_script *script, gr_record *record) {
    lua_State *L = script->main;
    script->record = record;
    if (lua_getglobal(L, "math") == LUA_TTABLE && lua_getfield(L, -1, "randomseed") == LUA_TFUNCTION) {
        lua_pushinteger(L, (lua_Integer)record->random_seed);
        lua_pcall(L, 1, 0, 0);
    }
    lua_settop(L, 0);
}

const char *gr_record_device(const gr_script *script, const char *asked) {
    return script->record && script->record->device ? script->record->device : asked;
}

// What an earlier run had under the number; NULL: nothing is compared, or it had none.
static const gr_recorded *expected(const gr_record *record, uint64_t number) {
    return record->expected && number <= record->expected_count ? &record->expected[number - 1] : NULL;
}

uint64_t gr_record_seed(const gr_script *script, uint64_t asked) {
    const gr_recorded *earlier = script->record ? expected(script->record, script->record->begun + 1) : NULL;
    return !asked && earlier && earlier->kind == GR_RECORDED_ANSWER ? earlier->seed : asked;
}

// ---- Differences

GR_PRINTF(2, 3)
static void diverge(gr_script *script, const char *format, ...) {
    gr_record *record = script->record;
    va_list arguments;
    if (record->diverged)
        return;
    record->diverged = true;
    va_start(arguments, format);
    vsnprintf(record->divergence, sizeof record->divergence, format, arguments);
    va_end(arguments);
    gr_script_interrupt(script); // what follows depends on it
}

static const char *kind_name(gr_recorded_kind kind) {
    static const char *const names[] = {"nothing", "a model", "an answer", "a choice"};
    return names[kind];
}

// Whether number `number` begins as it did.
static void compare_begin(gr_script *script, uint64_t number, const gr_recorded *now) {
    const gr_recorded *earlier = expected(script->record, number);
    if (!script->record->expected)
        return;
    gr_recorded_kind kind = earlier ? earlier->kind : GR_RECORDED_NONE;
    if (kind != now->kind)
        diverge(script, "number %" PRIu64 " was %s, and is %s", number, kind_name(kind), kind_name(now->kind));
    else if (kind == GR_RECORDED_MODEL && earlier->hash != now->hash)
        diverge(script, "number %" PRIu64 ": the model is another one", number);
    else if (kind != GR_RECORDED_MODEL && (earlier->hash != now->hash || earlier->prompt_tokens != now->prompt_tokens))
        diverge(script, "number %" PRIu64 " begins behind another prompt: of %" PRIu64 " tokens, now of %" PRIu64, number,
                earlier->prompt_tokens, now->prompt_tokens);
}

// The text of a token, as JSON.
static void add_piece(gr_strbuf *text, const gr_session *session, int32_t token) {
    char piece[64];
    gr_model *model = session ? gr_session_model((gr_session *)(uintptr_t)session) : NULL; // only read
    size_t bytes = model ? gr_model_piece(model, token, true, piece, sizeof piece) : 0;
    gr_strbuf_format(text, "%d ", (int)token);
    gr_strbuf_json(text, (gr_str){piece, bytes < sizeof piece ? bytes : sizeof piece});
}

static void compare_end(gr_script *script, uint64_t number, const gr_recorded *now, const gr_session *session,
                        const char *device) {
    const gr_recorded *earlier = expected(script->record, number);
    size_t i = 0;
    if (!earlier || script->record->diverged)
        return;
    while (i < earlier->count && i < now->count && earlier->tokens[i] == now->tokens[i])
        i++;
    script->record->compared++;
    script->record->compared_tokens += i;
    bool was_over = i == earlier->count, is_over = i == now->count;
    if ((was_over && is_over) || (was_over && earlier->timed) || (is_over && now->timed))
        return;
    gr_strbuf was = {0}, is = {0};
    bool choice = now->kind == GR_RECORDED_CHOICE;
    if (choice) {
        gr_strbuf_format(&was, "option %d", (int)earlier->tokens[0]);
        gr_strbuf_format(&is, "option %d", (int)now->tokens[0]);
    } else {
        if (i < earlier->count)
            add_piece(&was, session, earlier->tokens[i]);
        if (i < now->count)
            add_piece(&is, session, now->tokens[i]);
    }
    diverge(script, "number %" PRIu64 ", %s, token %zu: %s was recorded, %s came on %s", number, kind_name(now->kind), i + 1,
            was.size ? was.data : "the end", is.size ? is.data : "the end", device);
    gr_strbuf_deinit(&was);
    gr_strbuf_deinit(&is);
}

// ---- Telling

static void tell(const gr_record *record, gr_strbuf *line) {
    if (record->add && !line->failed)
        record->add(record->context, gr_strbuf_cstr(line));
    gr_strbuf_deinit(line);
}

static void add_text(gr_strbuf *line, const char *key, const char *text) {
    gr_strbuf_format(line, ",\"%s\":", key);
    gr_strbuf_json(line, (gr_str){text, strlen(text)});
}

// `more`: members in front of the tokens.
static void tell_tokens(const gr_record *record, uint64_t number, const char *type, const gr_recorded *now,
                        const char *device, const char *more) {
    gr_strbuf line = {0};
    gr_strbuf_format(&line, "{\"type\":\"%s\",\"number\":%" PRIu64, type, number);
    add_text(&line, "device", device);
    gr_strbuf_format(&line, ",\"prompt_tokens\":%" PRIu64 ",\"prompt_hash\":\"%016" PRIx64 "\"%s,\"tokens\":[",
                     now->prompt_tokens, now->hash, more);
    for (size_t i = 0; i < now->count; i++)
        gr_strbuf_format(&line, "%s%d", i ? "," : "", (int)now->tokens[i]);
    gr_strbuf_text(&line, "]}");
    tell(record, &line);
}

// ---- What happens

static gr_recorded begin(gr_recorded_kind kind, const gr_session *session) {
    gr_recorded now = {.kind = kind};
    size_t count;
    const int32_t *tokens = gr_session_tokens(session, &count);
    now.prompt_tokens = count;
    now.hash = gr_hash_bytes(tokens, count * sizeof *tokens);
    return now;
}

void gr_record_model(gr_script *script, const gr_model *model) {
    gr_model_info info = {.struct_size = sizeof info};
    gr_recorded now = {.kind = GR_RECORDED_MODEL};
    gr_strbuf line = {0};
    if (!script->record)
        return;
    gr_model_info_get(model, &info);
    for (int i = 0; i < 8; i++)
        now.hash = now.hash << 8 | info.fingerprint[i];
    uint64_t number = ++script->record->begun;
    gr_strbuf_format(&line, "{\"type\":\"model\",\"number\":%" PRIu64, number);
    add_text(&line, "path", info.path);
    add_text(&line, "device", info.device);
    gr_strbuf_format(&line, ",\"fingerprint\":\"%016" PRIx64 "\"}", now.hash);
    tell(script->record, &line);
    compare_begin(script, number, &now);
}

void gr_record_choice_begin(gr_script *script, const gr_session *session, gr_recorded_choice *out_choice) {
    *out_choice = (gr_recorded_choice){0};
    if (!script->record)
        return;
    gr_recorded now = begin(GR_RECORDED_CHOICE, session);
    *out_choice = (gr_recorded_choice){++script->record->begun, now.prompt_tokens, now.hash};
    compare_begin(script, out_choice->number, &now);
}

void gr_record_choice_end(gr_script *script, const gr_session *session, const gr_recorded_choice *choice, int32_t option) {
    gr_recorded now = {.kind = GR_RECORDED_CHOICE, .prompt_tokens = choice->prompt_tokens, .hash = choice->prompt_hash};
    if (!script->record || !choice->number)
        return;
    now.tokens = &option;
    now.count = 1;
    tell_tokens(script->record, choice->number, "choice", &now, gr_session_device(session), "");
    compare_end(script, choice->number, &now, session, gr_session_device(session));
}

void gr_record_begin(gr_request_box *box) {
    const gr_session *session = box->session_box->session;
    if (!box->script->record || !session)
        return;
    gr_recorded now = begin(GR_RECORDED_ANSWER, session);
    box->number = ++box->script->record->begun;
    box->prompt_tokens = now.prompt_tokens;
    box->prompt_hash = now.hash;
    compare_begin(box->script, box->number, &now);
}

void gr_record_end(gr_request_box *box) {
    gr_request_info info = {.struct_size = sizeof info};
    char more[80];
    uint64_t number = box->number;
    if (!number || !box->request)
        return;
    box->number = 0;
    const gr_session *session = box->session_box->session;
    const char *device = session ? gr_session_device(session) : "a closed session";
    gr_request_info_get(box->request, &info);
    const gr_recorded now = {GR_RECORDED_ANSWER, info.seed, box->prompt_tokens, box->prompt_hash,
                             (int32_t *)(uintptr_t)info.tokens, info.generated_tokens, // only read
                             info.stop_reason == GR_STOP_TIME};
    snprintf(more, sizeof more, ",\"seed\":%" PRIu64 ",\"stop_reason\":\"%s\"", now.seed, gr_stop_reason_name(info.stop_reason));
    tell_tokens(box->script->record, number, "answer", &now, device, more);
    compare_end(box->script, number, &now, session, device);
}

void gr_record_finish(gr_record *record) {
    if (record->diverged || !record->expected || record->begun >= record->expected_count)
        return;
    record->diverged = true;
    snprintf(record->divergence, sizeof record->divergence, "number %" PRIu64 " was %s, and did not come", record->begun + 1,
             kind_name(record->expected[record->begun].kind));
}
