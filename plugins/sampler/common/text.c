// SPDX-License-Identifier: Apache-2.0
// text.c: chains as text, both ways.
//
//     chain = [stage] *(";" [stage])
//     stage = name ["(" [param *("," param)] ")"]
//     param = [name "="] value
//     value = quoted / characters other than , ; ( ) = "
#include <locale.h>

#include "plugins/sampler/common/common.h"

enum { NAME_SIZE = 40 };

// A place in the text, and memory for what is unquoted (as long as the text itself).
typedef struct reader {
    const char *text, *at;
    char *memory;
    gr_error *error;
} reader;

static gr_status expected(const reader *r, const char *what) {
    size_t offset = (size_t)(r->at - r->text);
    if (!*r->at)
        return gr_fail(r->error, GR_ERROR_INVALID_ARGUMENT, "sampler",
                       "expected %s at the end of '%.200s'", what, r->text);
    return gr_fail(r->error, GR_ERROR_INVALID_ARGUMENT, "sampler",
                   "expected %s at character %zu, found '%.60s'", what, offset + 1, r->at);
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_blanks(reader *r) {
    while (is_blank(*r->at))
        r->at++;
}

static bool accept(reader *r, char wanted) {
    skip_blanks(r);
    if (*r->at != wanted)
        return false;
    r->at++;
    return true;
}

static bool is_name_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

static gr_status read_name(reader *r, char name[NAME_SIZE]) {
    size_t size = 0;
    skip_blanks(r);
    while (is_name_character(r->at[size]))
        size++;
    if (!size || size >= NAME_SIZE)
        return expected(r, "a name");
    memcpy(name, r->at, size);
    name[size] = '\0';
    r->at += size;
    return GR_OK;
}

// Takes a text value as it is meant; its bytes stay in r->memory.
static gr_status read_text(reader *r, gr_str *out_text) {
    char *start = r->memory;
    skip_blanks(r);
    if (*r->at != '"') {
        size_t size = strcspn(r->at, ",;()=\"");
        memcpy(start, r->at, size);
        r->at += size;
        while (size && is_blank(start[size - 1]))
            size--;
        r->memory += size;
        *out_text = (gr_str){start, size};
        return size ? GR_OK : expected(r, "a value");
    }
    for (r->at++; *r->at != '"'; r->at++) {
        if (!*r->at)
            return expected(r, "the closing quote");
        char c = *r->at;
        if (c == '\\') {
            static const char escapes[] = "nt\"\\", meanings[] = "\n\t\"\\";
            const char *escape = r->at[1] ? strchr(escapes, r->at[1]) : NULL;
            if (!escape)
                return expected(r, "one of the escapes \\n \\t \\\" \\\\");
            c = meanings[escape - escapes];
            r->at++;
        }
        *r->memory++ = c;
    }
    r->at++;
    *out_text = (gr_str){start, (size_t)(r->memory - start)};
    return GR_OK;
}

static gr_status read_number(reader *r, const gr_sampler_type *type, const char *name,
                             double *out_number) {
    gr_str text;
    char copy[64], *end;
    gr_status status = read_text(r, &text);
    if (status != GR_OK)
        return status;
    snprintf(copy, sizeof copy, "%.*s", (int)(text.size < 63 ? text.size : 63), text.data);
    *out_number = strtod(copy, &end);
    if (*end || end == copy || text.size > 63)
        return gr_fail(r->error, GR_ERROR_INVALID_ARGUMENT, "sampler",
                       "%s: %s must be a number, found '%s'", type->name, name, copy);
    return GR_OK;
}

// Whether a name and '=' come next.
static bool is_named(const reader *r) {
    const char *at = r->at;
    while (is_name_character(*at))
        at++;
    if (at == r->at)
        return false;
    while (is_blank(*at))
        at++;
    return *at == '=';
}

static gr_status read_param(reader *r, const gr_sampler_type *type, gr_sampler_param *out_param) {
    const gr_sampler_param_spec *spec = type->params;
    char name[NAME_SIZE];
    skip_blanks(r);
    if (is_named(r)) {
        gr_status status = read_name(r, name);
        if (status != GR_OK)
            return status;
        accept(r, '=');
        spec = gr_sampler_spec_find(type, name, r->error);
        if (!spec)
            return GR_ERROR_NOT_FOUND;
    } else if (!spec || !spec->name) {
        return gr_fail(r->error, GR_ERROR_INVALID_ARGUMENT, "sampler",
                       "%s takes no parameter, found '%.60s'", type->name, r->at);
    }
    *out_param = (gr_sampler_param){.name = spec->name};
    return spec->is_text ? read_text(r, &out_param->text)
                         : read_number(r, type, spec->name, &out_param->number);
}

static gr_status read_params(reader *r, const gr_sampler_type *type, gr_sampler_param *params,
                             size_t *out_count) {
    *out_count = 0;
    if (!accept(r, '(') || accept(r, ')'))
        return GR_OK;
    do {
        if (*out_count == GR_SAMPLER_PARAMS)
            return gr_fail(r->error, GR_ERROR_OUT_OF_RANGE, "sampler",
                           "%s: more than %d parameters", type->name, GR_SAMPLER_PARAMS);
        gr_status status = read_param(r, type, &params[(*out_count)++]);
        if (status != GR_OK)
            return status;
    } while (accept(r, ','));
    return accept(r, ')') ? GR_OK : expected(r, "',' or ')'");
}

static gr_status read_stage(reader *r, gr_sampler_chain *chain) {
    gr_sampler_param params[GR_SAMPLER_PARAMS];
    char name[NAME_SIZE];
    size_t count;
    gr_status status = read_name(r, name);
    if (status != GR_OK)
        return status;
    const gr_sampler_type *type = gr_sampler_type_find(name, r->error);
    if (!type)
        return GR_ERROR_NOT_FOUND;
    status = read_params(r, type, params, &count);
    return status == GR_OK ? gr_sampler_chain_add(chain, name, params, count, r->error) : status;
}

static gr_status read_chain(reader *r, gr_sampler_chain *chain) {
    for (;;) {
        gr_status status;
        while (accept(r, ';'))
            continue;
        skip_blanks(r);
        if (!*r->at)
            return GR_OK;
        status = read_stage(r, chain);
        if (status != GR_OK)
            return status;
        skip_blanks(r);
        if (*r->at && *r->at != ';')
            return expected(r, "';'");
    }
}

// Numbers are written with a point, whatever the program's locale says.
static locale_t enter_c_locale(locale_t *out_before) {
    locale_t c = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    *out_before = c ? uselocale(c) : (locale_t)0;
    return c;
}

static void leave_c_locale(locale_t c, locale_t before) {
    if (!c)
        return;
    uselocale(before);
    freelocale(c);
}

gr_status gr_chain_text(gr_sampler_chain *chain, const char *text, gr_error *error) {
    locale_t before, c;
    char *memory = malloc(strlen(text) + 1);
    reader r = {text, text, memory, error};
    if (!memory)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "sampler", "no memory for a sampler chain");
    c = enter_c_locale(&before);
    gr_status status = read_chain(&r, chain);
    leave_c_locale(c, before);
    free(memory);
    return status;
}

// ---- Writing

// The shortest decimal that reads back as the same number.
static size_t write_number(char *out, size_t capacity, double number) {
    int size = 0;
    for (int digits = 6; digits <= 17; digits++) {
        size = snprintf(out, capacity, "%.*g", digits, number);
        if (strtod(out, NULL) == number)
            break;
    }
    return (size_t)size;
}

static size_t write_quoted(char *out, gr_str text) {
    static const char escapes[] = "nt\"\\", meanings[] = "\n\t\"\\";
    size_t used = 0;
    out[used++] = '"';
    for (size_t i = 0; i < text.size; i++) {
        const char *meaning = text.data[i] ? strchr(meanings, text.data[i]) : NULL;
        if (meaning)
            out[used++] = '\\';
        out[used++] = meaning ? escapes[meaning - meanings] : text.data[i];
    }
    out[used++] = '"';
    return used;
}

char *gr_stage_text(const gr_sampler_type *type, const gr_sampler_param *params, size_t count) {
    locale_t before, c;
    size_t capacity = strlen(type->name) + 3;
    for (size_t i = 0; i < count; i++)
        capacity += strlen(params[i].name) + 40 + 2 * params[i].text.size;
    char *text = malloc(capacity);
    if (!text)
        return NULL;
    c = enter_c_locale(&before);
    size_t used = (size_t)snprintf(text, capacity, "%s%s", type->name, count ? "(" : "");
    for (size_t i = 0; i < count; i++) {
        used +=
            (size_t)snprintf(text + used, capacity - used, "%s%s=", i ? "," : "", params[i].name);
        used += params[i].text.data ? write_quoted(text + used, params[i].text)
                                    : write_number(text + used, capacity - used, params[i].number);
    }
    snprintf(text + used, capacity - used, "%s", count ? ")" : "");
    leave_c_locale(c, before);
    return text;
}
