// SPDX-License-Identifier: Apache-2.0
#include "plugins/chat/common/json.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/chat/common/utf8.h"

#define MAX_DEPTH 500
#define BLOCK_BYTES 4080u

struct gr_json_block {
    struct gr_json_block *next;
    size_t used, size;
    _Alignas(16) char data[];
};

typedef struct json_reader {
    const char *at, *end;
    gr_json_document *document;
    bool no_memory;
    int depth;
} json_reader;

static void *take(json_reader *reader, size_t size) {
    struct gr_json_block *block = reader->document->blocks;
    size = (size + 15) & ~(size_t)15;
    if (!block || block->size - block->used < size) {
        size_t bytes = size > BLOCK_BYTES ? size : BLOCK_BYTES;
        block = malloc(sizeof *block + bytes);
        if (!block) {
            reader->no_memory = true;
            return NULL;
        }
        *block = (struct gr_json_block){.next = reader->document->blocks, .size = bytes};
        reader->document->blocks = block;
    }
    void *memory = block->data + block->used;
    block->used += size;
    return memory;
}

static gr_json *make(json_reader *reader, gr_json_kind kind) {
    gr_json *value = take(reader, sizeof *value);
    if (value)
        *value = (gr_json){.kind = kind};
    return value;
}

static void skip_space(json_reader *reader) {
    while (reader->at < reader->end && memchr(" \t\n\r", *reader->at, 4))
        reader->at++;
}

static bool take_char(json_reader *reader, char c) {
    skip_space(reader);
    if (reader->at == reader->end || *reader->at != c)
        return false;
    reader->at++;
    return true;
}

static bool take_word(json_reader *reader, const char *word) {
    size_t size = strlen(word);
    if ((size_t)(reader->end - reader->at) < size || memcmp(reader->at, word, size))
        return false;
    reader->at += size;
    return true;
}

// ---- Strings ----

static bool read_hex(json_reader *reader, uint32_t *out_value) {
    *out_value = 0;
    if (reader->end - reader->at < 4)
        return false;
    for (int i = 0; i < 4; i++, reader->at++) {
        char c = *reader->at;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return false;
        *out_value = *out_value * 16 + (uint32_t)digit;
    }
    return true;
}

// After "\u". A surrogate must have its other half behind it: alone it has no UTF-8.
static bool read_code_point(json_reader *reader, uint32_t *out_point) {
    uint32_t low;
    if (!read_hex(reader, out_point))
        return false;
    if (*out_point < 0xD800 || *out_point > 0xDFFF)
        return true;
    if (*out_point > 0xDBFF || !take_word(reader, "\\u") || !read_hex(reader, &low) ||
        low < 0xDC00 || low > 0xDFFF)
        return false;
    *out_point = 0x10000 + ((*out_point - 0xD800) << 10) + (low - 0xDC00);
    return true;
}

// After the backslash; returns how many bytes were written, 0 when it is no escape.
static size_t read_escape(json_reader *reader, char out_bytes[4]) {
    static const char letters[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    uint32_t point;
    if (reader->at == reader->end)
        return 0;
    char c = *reader->at++;
    const char *letter = c ? strchr(letters, c) : NULL;
    if (letter) {
        out_bytes[0] = values[letter - letters];
        return 1;
    }
    return c == 'u' && read_code_point(reader, &point) ? gr_utf8_write(point, out_bytes) : 0;
}

// After the opening quote.
static bool read_string(json_reader *reader, gr_str *out_string) {
    const char *close = reader->at;
    while (close < reader->end && *close != '"')
        close += *close == '\\' && reader->end - close > 1 ? 2 : 1;
    if (close >= reader->end)
        return false;
    char *bytes = take(reader, (size_t)(close - reader->at) + 4), *to = bytes;
    while (bytes && reader->at < close) {
        if (*reader->at == '\\') {
            reader->at++;
            size_t size = read_escape(reader, to);
            if (!size)
                return false;
            to += size;
            continue;
        }
        size_t size = gr_utf8_size(reader->at, (size_t)(close - reader->at));
        if (!size || (uint8_t)*reader->at < 0x20)
            return false;
        memcpy(to, reader->at, size);
        to += size;
        reader->at += size;
    }
    if (!bytes || reader->at != close)
        return false;
    reader->at = close + 1;
    *out_string = (gr_str){bytes, (size_t)(to - bytes)};
    return true;
}

// ---- Numbers ----

static size_t skip_digits(json_reader *reader) {
    const char *start = reader->at;
    while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9')
        reader->at++;
    return (size_t)(reader->at - start);
}

// A fraction or exponent is part of the number only if digits follow it.
static bool skip_part(json_reader *reader, bool exponent) {
    const char *start = reader->at;
    if (reader->at < reader->end && (exponent ? (*start | 0x20) == 'e' : *start == '.')) {
        reader->at++;
        if (exponent && reader->at < reader->end && (*reader->at == '+' || *reader->at == '-'))
            reader->at++;
        if (skip_digits(reader))
            return true;
    }
    reader->at = start;
    return false;
}

// Writes digits d.ddd * 10^exponent with a point where Python's repr puts it.
static int place_point(const char *digits, int count, int exponent, bool negative,
                       char out_text[40]) {
    char *to = out_text;
    if (negative)
        *to++ = '-';
    if (exponent < -4 || exponent >= 16) {
        *to++ = digits[0];
        if (count > 1) {
            *to++ = '.';
            memcpy(to, digits + 1, (size_t)count - 1);
            to += count - 1;
        }
        return (int)(to - out_text) +
               snprintf(to, 8, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
    }
    if (exponent < 0) {
        *to++ = '0';
        *to++ = '.';
        for (int i = -1; i > exponent; i--)
            *to++ = '0';
        memcpy(to, digits, (size_t)count);
        return (int)(to + count - out_text);
    }
    for (int i = 0; i < count || i <= exponent; i++) {
        if (i == exponent + 1)
            *to++ = '.';
        *to++ = i < count ? digits[i] : '0';
    }
    if (count <= exponent + 1) {
        *to++ = '.';
        *to++ = '0';
    }
    return (int)(to - out_text);
}

// Adds one to the last digit of d.ddde+xx; false when all digits are nines.
static bool count_up(char *text) {
    for (char *at = strchr(text, 'e'); at-- > text;) {
        if (*at >= '0' && *at < '9') {
            ++*at;
            return true;
        }
        if (*at == '9')
            *at = '0';
    }
    return false;
}

// The shortest digits that read back as the same double. Those nearest to it need not be among
// them: just above a power of two doubles lie twice as far apart as below.
static int write_double(double value, char out_text[40]) {
    char text[40], digits[20];
    if (isinf(value))
        return snprintf(out_text, 40, value < 0 ? "-Infinity" : "Infinity");
    for (int precision = 0; precision <= 16; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, fabs(value));
        if (strtod(text, NULL) == fabs(value) ||
            (count_up(text) && strtod(text, NULL) == fabs(value)))
            break;
    }
    int count = 0;
    const char *at = text;
    for (; *at && *at != 'e'; at++)
        if (*at >= '0' && *at <= '9')
            digits[count++] = *at;
    while (count > 1 && digits[count - 1] == '0')
        count--;
    return place_point(digits, count, atoi(at + 1), signbit(value), out_text);
}

// Digits are read and written in the C locale, whatever the host's is.
static bool rewrite_double(json_reader *reader, const char *start, gr_str *out_text) {
    size_t size = (size_t)(reader->at - start);
    char *copy = take(reader, size + 1), *written = take(reader, 40);
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!copy || !written || !plain) {
        reader->no_memory = true;
        if (plain)
            freelocale(plain);
        return false;
    }
    memcpy(copy, start, size);
    copy[size] = '\0';
    locale_t before = uselocale(plain);
    int count = write_double(strtod(copy, NULL), written);
    uselocale(before);
    freelocale(plain);
    *out_text = (gr_str){written, (size_t)count};
    return true;
}

static gr_json *read_number(json_reader *reader) {
    const char *start = reader->at;
    if (*reader->at == '-')
        reader->at++;
    if (reader->at < reader->end && *reader->at == '0')
        reader->at++;
    else if (!skip_digits(reader))
        return NULL;
    gr_json *value = make(reader, GR_JSON_LITERAL);
    if (!value)
        return NULL;
    value->text = (gr_str){start, (size_t)(reader->at - start)};
    bool fraction = skip_part(reader, false), exponent = skip_part(reader, true);
    if (fraction || exponent)
        return rewrite_double(reader, start, &value->text) ? value : NULL;
    if (value->text.size == 2 && start[0] == '-' && start[1] == '0')
        value->text = (gr_str){"0", 1};
    return value;
}

// ---- Values ----

static gr_json *read_value(json_reader *reader);

static int compare_keys(const void *a, const void *b) {
    const gr_json *x = *(gr_json *const *)a, *y = *(gr_json *const *)b;
    size_t common = x->key.size < y->key.size ? x->key.size : y->key.size;
    int order = common ? memcmp(x->key.data, y->key.data, common) : 0;
    if (order)
        return order;
    if (x->key.size != y->key.size)
        return x->key.size < y->key.size ? -1 : 1;
    return x->count < y->count ? -1 : 1; // see merge_duplicates
}

static bool same_key(const gr_json *a, const gr_json *b) {
    return a->key.size == b->key.size &&
           (!a->key.size || !memcmp(a->key.data, b->key.data, a->key.size));
}

// Keeps of members with one key the last value at the first place. While sorting, `count` of
// stand-ins holds the place.
static bool merge_duplicates(json_reader *reader, gr_json *object) {
    size_t count = object->count;
    if (count < 2)
        return true;
    gr_json *places = take(reader, count * sizeof *places),
            **members = take(reader, count * sizeof *members),
            **order = take(reader, count * sizeof *order);
    if (!places || !members || !order)
        return false;
    size_t i = 0;
    for (gr_json *member = object->first; member; member = member->next, i++) {
        members[i] = member;
        places[i] = (gr_json){.key = member->key, .count = i};
        order[i] = &places[i];
    }
    qsort(order, count, sizeof *order, compare_keys);
    for (size_t start = 0, end; start < count; start = end) {
        for (end = start + 1; end < count && same_key(order[start], order[end]); end++)
            ;
        gr_json *last = members[order[end - 1]->count];
        for (size_t k = start; k < end; k++)
            members[order[k]->count] = NULL;
        members[order[start]->count] = last;
    }
    gr_json **link = &object->first;
    object->count = 0;
    for (i = 0; i < count; i++) {
        if (!members[i])
            continue;
        *link = members[i];
        link = &members[i]->next;
        object->count++;
    }
    *link = NULL;
    return true;
}

static bool read_member(json_reader *reader, bool keyed, gr_json ***link) {
    gr_str key = {0};
    if (keyed && (!take_char(reader, '"') || !read_string(reader, &key) || !take_char(reader, ':')))
        return false;
    gr_json *member = read_value(reader);
    if (!member)
        return false;
    member->key = key;
    **link = member;
    *link = &member->next;
    return true;
}

// After the opening bracket.
static gr_json *read_group(json_reader *reader, gr_json_kind kind, char close) {
    gr_json *group = make(reader, kind);
    if (!group || ++reader->depth > MAX_DEPTH)
        return NULL;
    gr_json **link = &group->first;
    if (!take_char(reader, close)) {
        do {
            if (!read_member(reader, kind == GR_JSON_OBJECT, &link))
                return NULL;
            group->count++;
        } while (take_char(reader, ','));
        if (!take_char(reader, close))
            return NULL;
    }
    reader->depth--;
    return kind == GR_JSON_ARRAY || merge_duplicates(reader, group) ? group : NULL;
}

static gr_json *read_literal(json_reader *reader) {
    static const char *const words[] = {"null", "true", "false", "NaN", "Infinity", "-Infinity"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!take_word(reader, words[i]))
            continue;
        gr_json *value = make(reader, GR_JSON_LITERAL);
        if (value)
            value->text = (gr_str){words[i], strlen(words[i])};
        return value;
    }
    return NULL;
}

static gr_json *read_value(json_reader *reader) {
    if (take_char(reader, '{'))
        return read_group(reader, GR_JSON_OBJECT, '}');
    if (take_char(reader, '['))
        return read_group(reader, GR_JSON_ARRAY, ']');
    if (take_char(reader, '"')) {
        gr_json *value = make(reader, GR_JSON_STRING);
        return value && read_string(reader, &value->text) ? value : NULL;
    }
    if (reader->at == reader->end)
        return NULL;
    gr_json *literal = read_literal(reader);
    return literal || reader->no_memory ? literal : read_number(reader);
}

gr_status gr_json_read(gr_str text, gr_json_document *out_document) {
    *out_document = (gr_json_document){0};
    if (!text.size)
        return GR_OK;
    json_reader reader = {.at = text.data, .end = text.data + text.size, .document = out_document};
    const gr_json *root = read_value(&reader);
    skip_space(&reader);
    if (reader.no_memory)
        return GR_ERROR_OUT_OF_MEMORY;
    if (root && reader.at == reader.end)
        out_document->root = root;
    return GR_OK;
}

void gr_json_deinit(gr_json_document *document) {
    while (document->blocks) {
        struct gr_json_block *next = document->blocks->next;
        free(document->blocks);
        document->blocks = next;
    }
    document->root = NULL;
}

const gr_json *gr_json_member(const gr_json *object, const char *key) {
    size_t size = strlen(key);
    if (!object || object->kind != GR_JSON_OBJECT)
        return NULL;
    for (const gr_json *member = object->first; member; member = member->next)
        if (member->key.size == size && !memcmp(member->key.data, key, size))
            return member;
    return NULL;
}

// ---- Writing ----

void gr_json_write_string(gr_chat_text *text, gr_str string) {
    gr_chat_text_puts(text, "\"");
    for (size_t i = 0; i < string.size; i++) {
        static const char letters[] = "\"\\nrtbf", values[] = "\"\\\n\r\t\b\f";
        char c = string.data[i], escaped[8];
        const char *value = c ? strchr(values, c) : NULL;
        if (value)
            snprintf(escaped, sizeof escaped, "\\%c", letters[value - values]);
        else if ((uint8_t)c < 0x20)
            snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)(uint8_t)c);
        if (value || (uint8_t)c < 0x20)
            gr_chat_text_puts(text, escaped);
        else
            gr_chat_text_add(text, &c, 1);
    }
    gr_chat_text_puts(text, "\"");
}

void gr_json_write(gr_chat_text *text, const gr_json *value) {
    if (value->kind == GR_JSON_LITERAL) {
        gr_chat_text_add(text, value->text.data, value->text.size);
        return;
    }
    if (value->kind == GR_JSON_STRING) {
        gr_json_write_string(text, value->text);
        return;
    }
    bool object = value->kind == GR_JSON_OBJECT;
    gr_chat_text_puts(text, object ? "{" : "[");
    for (const gr_json *member = value->first; member; member = member->next) {
        if (object) {
            gr_json_write_string(text, member->key);
            gr_chat_text_puts(text, ": ");
        }
        gr_json_write(text, member);
        if (member->next)
            gr_chat_text_puts(text, ", ");
    }
    gr_chat_text_puts(text, object ? "}" : "]");
}
