// SPDX-License-Identifier: Apache-2.0
// record.c: a recorded run as a file: JSON objects, one a line.
#include "cli/record.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/hash.h"
#include "base/utf8.h"

enum { SCRIPT_LIMIT = 64 << 20, RECORD_LIMIT = 1 << 30 };

static gr_status hash_file(const char *path, char out_hex[65], gr_error *error) {
    gr_strbuf text = {0};
    gr_sha256 hash;
    uint8_t digest[32];
    gr_status status = gr_file_read(path, SCRIPT_LIMIT, &text, error);
    if (status == GR_OK) {
        gr_sha256_init(&hash);
        gr_sha256_add(&hash, gr_strbuf_cstr(&text), text.size);
        gr_sha256_finish(&hash, digest);
        for (int i = 0; i < 32; i++)
            snprintf(out_hex + 2 * i, 3, "%02x", digest[i]);
    }
    gr_strbuf_deinit(&text);
    return status;
}

// ---- Writing

// The first failure is told, and ends the writing.
static void add_line(void *context, const char *line) {
    gr_cli_record *record = context;
    gr_error error;
    gr_error_init(&error);
    if (!record->writing)
        return;
    if (gr_file_add(&record->writer, line, strlen(line), &error) != GR_OK ||
        gr_file_add(&record->writer, "\n", 1, &error) != GR_OK) {
        gr_report(&error);
        gr_file_abandon(&record->writer);
        record->writing = false;
    }
}

static void add_head(gr_cli_record *record, const char *script, const char *sha256, int argc, char *const *argv,
                     bool sandboxed) {
    gr_strbuf line = {0};
    gr_strbuf_text(&line, "{\"type\":\"script\",\"path\":");
    gr_strbuf_json(&line, (gr_str){script, strlen(script)});
    gr_strbuf_format(&line, ",\"sha256\":\"%s\",\"arguments\":[", sha256);
    for (int i = 0; i < argc; i++) {
        gr_strbuf_text(&line, i ? "," : "");
        gr_strbuf_json(&line, (gr_str){argv[i], strlen(argv[i])});
    }
    gr_strbuf_format(&line, "],\"random_seed\":%" PRIu64 ",\"sandbox\":%s,\"gregale\":\"%s\"}", record->record.random_seed,
                     sandboxed ? "true" : "false", gr_version());
    add_line(record, gr_strbuf_cstr(&line));
    gr_strbuf_deinit(&line);
}

// JSON holds nothing else, and a replay needs them as they were.
static int check_texts(const char *script, int argc, char *const *argv) {
    for (int i = -1; i < argc; i++) {
        const char *text = i < 0 ? script : argv[i];
        if (gr_utf8_valid(text, strlen(text)) == strlen(text))
            continue;
        if (i < 0)
            return gr_complain(GR_EXIT_USAGE, "script: --record: the script's path is no UTF-8, which a record cannot hold");
        return gr_complain(GR_EXIT_USAGE, "script: --record: argument %d is no UTF-8, which a record cannot hold", i + 1);
    }
    return GR_EXIT_OK;
}

int gr_cli_record_write(gr_cli_record *record, const char *path, const char *script, int argc, char *const *argv,
                        bool sandboxed) {
    char sha256[65];
    gr_error error;
    gr_error_init(&error);
    char *real = realpath(script, NULL);
    int code = check_texts(real ? real : script, argc, argv);
    if (code) {
        free(real);
        return code;
    }
    gr_status status = hash_file(real ? real : script, sha256, &error);
    if (status == GR_OK)
        status = gr_file_begin(path, &record->writer, &error);
    record->writing = status == GR_OK;
    uint64_t seed = gr_os_now_ns();
    if (getentropy(&seed, sizeof seed) != 0)
        seed = gr_os_now_ns();
    record->record.random_seed = seed & UINT64_C(0x1FFFFFFFFFFFFF);
    record->record.add = add_line;
    record->record.context = record;
    if (record->writing)
        add_head(record, real, sha256, argc, argv, sandboxed);
    free(real);
    return status == GR_OK ? GR_EXIT_OK : gr_report(&error);
}

int gr_cli_record_commit(gr_cli_record *record, int code) {
    char line[60];
    gr_error error;
    gr_error_init(&error);
    snprintf(line, sizeof line, "{\"type\":\"end\",\"exit_code\":%d}", code);
    add_line(record, line);
    if (!record->writing)
        return code ? code : GR_EXIT_INPUT; // said when it happened
    record->writing = false;
    if (gr_file_commit(&record->writer, &error) == GR_OK)
        return code;
    int failed = gr_report(&error);
    return code ? code : failed;
}

// ---- Reading

static bool read_head(gr_cli_record *record, json_t *line) {
    const char *path = json_string_value(json_object_get(line, "path"));
    const char *sha256 = json_string_value(json_object_get(line, "sha256"));
    json_t *arguments = json_object_get(line, "arguments");
    size_t count = json_array_size(arguments);
    if (record->script || !path || !sha256 || strlen(sha256) != 64 || !json_is_array(arguments) || count > 100000)
        return false;
    memcpy(record->sha256, sha256, 65);
    record->script = strdup(path);
    record->arguments = calloc(count + 1, sizeof *record->arguments);
    if (!record->script || !record->arguments)
        return false;
    for (size_t i = 0; i < count; i++) {
        const char *argument = json_string_value(json_array_get(arguments, i));
        if (!argument || !(record->arguments[record->argument_count++] = strdup(argument)))
            return false;
    }
    record->sandboxed = json_is_true(json_object_get(line, "sandbox"));
    record->record.random_seed = (uint64_t)json_integer_value(json_object_get(line, "random_seed"));
    return true;
}

static bool read_hash(json_t *line, const char *key, uint64_t *out_hash) {
    const char *text = json_string_value(json_object_get(line, key));
    char *end;
    if (!text || strlen(text) != 16)
        return false;
    *out_hash = strtoull(text, &end, 16);
    return !*end;
}

// The item that the number asks for, which lies among those that a file of this length can hold.
static gr_recorded *item(gr_cli_record *record, json_t *line, size_t lines) {
    json_int_t number = json_integer_value(json_object_get(line, "number"));
    if (number < 1 || (uint64_t)number > lines)
        return NULL;
    if (!record->items && !(record->items = calloc(lines, sizeof *record->items)))
        return NULL;
    gr_recorded *found = &record->items[number - 1];
    record->count = (size_t)number > record->count ? (size_t)number : record->count;
    return found->kind == GR_RECORDED_NONE ? found : NULL;
}

static bool read_tokens(gr_recorded *to, json_t *line) {
    json_t *tokens = json_object_get(line, "tokens");
    to->count = json_array_size(tokens);
    to->tokens = calloc(to->count + 1, sizeof *to->tokens);
    const char *stop_reason = json_string_value(json_object_get(line, "stop_reason"));
    to->seed = (uint64_t)json_integer_value(json_object_get(line, "seed"));
    to->timed = stop_reason && strcmp(stop_reason, gr_stop_reason_name(GR_STOP_TIME)) == 0;
    to->prompt_tokens = (uint64_t)json_integer_value(json_object_get(line, "prompt_tokens"));
    for (size_t i = 0; to->tokens && i < to->count; i++) {
        json_t *token = json_array_get(tokens, i);
        if (!json_is_integer(token) || json_integer_value(token) < 0 || json_integer_value(token) > INT32_MAX)
            return false;
        to->tokens[i] = (int32_t)json_integer_value(token);
    }
    return to->tokens && json_is_array(tokens) && read_hash(line, "prompt_hash", &to->hash) &&
           (to->kind != GR_RECORDED_CHOICE || to->count == 1);
}

// Sets *out_end at the line that ends the file.
static bool read_line(gr_cli_record *record, json_t *line, size_t lines, bool *out_end) {
    const char *type = json_string_value(json_object_get(line, "type"));
    if (!type || *out_end)
        return false;
    if (strcmp(type, "script") == 0)
        return read_head(record, line);
    if (strcmp(type, "end") == 0)
        return *out_end = true;
    gr_recorded_kind kind = strcmp(type, "model") == 0    ? GR_RECORDED_MODEL
                            : strcmp(type, "answer") == 0 ? GR_RECORDED_ANSWER
                            : strcmp(type, "choice") == 0 ? GR_RECORDED_CHOICE
                                                          : GR_RECORDED_NONE;
    gr_recorded *to = kind ? item(record, line, lines) : NULL;
    if (!to)
        return false;
    to->kind = kind;
    return kind == GR_RECORDED_MODEL ? read_hash(line, "fingerprint", &to->hash) : read_tokens(to, line);
}

// The number of the first line that makes no sense, or 0.
static size_t parse(gr_cli_record *record, const gr_strbuf *text) {
    const char *at = gr_strbuf_cstr(text), *stop = at + text->size;
    size_t number = 0, lines = 1;
    bool end = false;
    for (const char *c = at; c < stop; c++)
        lines += *c == '\n';
    while (at < stop) {
        const char *feed = memchr(at, '\n', (size_t)(stop - at));
        size_t length = feed ? (size_t)(feed - at) : (size_t)(stop - at);
        json_t *line = json_loadb(at, length, 0, NULL);
        bool good = line && read_line(record, line, lines, &end) && record->script;
        json_decref(line);
        number++;
        if (!good)
            return number;
        at += length + 1;
    }
    for (size_t i = 0; i < record->count; i++)
        end = end && record->items[i].kind;
    return end ? 0 : number + 1;
}

int gr_cli_record_read(gr_cli_record *record, const char *path) {
    gr_strbuf text = {0};
    gr_error error;
    gr_error_init(&error);
    int code = GR_EXIT_OK;
    if (gr_file_read(path, RECORD_LIMIT, &text, &error) != GR_OK)
        code = gr_report(&error);
    else {
        size_t wrong = parse(record, &text);
        if (wrong)
            code = gr_complain(GR_EXIT_INPUT, "%s: line %zu: expected a line of a recorded run, which ends with one of type end",
                               path, wrong);
    }
    gr_strbuf_deinit(&text);
    static const gr_recorded none;
    record->record.expected = record->items ? record->items : &none;
    record->record.expected_count = record->count;
    return code;
}

int gr_cli_record_check_script(const gr_cli_record *record) {
    char sha256[65];
    gr_error error;
    gr_error_init(&error);
    if (hash_file(record->script, sha256, &error) != GR_OK)
        return gr_report(&error);
    if (strcmp(sha256, record->sha256) != 0)
        return gr_complain(GR_EXIT_INPUT, "%s: it has changed since it was recorded (SHA-256 %.12s, now %.12s)", record->script,
                           record->sha256, sha256);
    return GR_EXIT_OK;
}

void gr_cli_record_deinit(gr_cli_record *record) {
    if (record->writing)
        gr_file_abandon(&record->writer);
    for (size_t i = 0; i < record->count; i++)
        free(record->items[i].tokens);
    free(record->items);
    for (int i = 0; i < record->argument_count; i++)
        free(record->arguments[i]);
    free(record->arguments);
    free(record->script);
    *record = (gr_cli_record){0};
}
