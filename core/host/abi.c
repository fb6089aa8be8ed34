// SPDX-License-Identifier: Apache-2.0
// abi.c: is what a plugin handed over what backend.h describes? The rules are its "Evolution"
// paragraph.
#include <string.h>

#include "base/utf8.h"
#include "host/internal.h"

enum { TABLE_LIMIT = 4096, NAME_LIMIT = 32, TEXT_LIMIT = 128 };

static const gr_backend_flags known_flags =
    GR_BACKEND_PINNED | GR_BACKEND_NEEDS_PCI | GR_BACKEND_RISKY_PROBE;

static gr_status refuse(gr_error *error, const char *what) {
    return gr_fail(error, GR_ERROR_INCOMPATIBLE, "host", "%s", what);
}

static bool name_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

// A name of 1 to limit-1 letters, digits, '-' and '_', ended within `limit` bytes.
static bool good_name(const char *name, size_t limit) {
    size_t length = strnlen(name, limit);
    if (!length || length == limit)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (!name_character(name[i]))
            return false;
    }
    return true;
}

// Printable ASCII, ended within TEXT_LIMIT bytes.
static bool good_text(const char *text) {
    size_t length = text ? strnlen(text, TEXT_LIMIT) : 0;
    if (!length || length == TEXT_LIMIT)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < ' ' || text[i] > '~')
            return false;
    }
    return true;
}

static gr_status check_size(const gr_backend *backend, gr_error *error) {
    // The last function everyone must have; get_extension came with it but may be absent.
    const uint32_t least = offsetof(gr_backend, get_extension);
    uint32_t size = backend->struct_size;
    if (size < least)
        return gr_fail(error, GR_ERROR_INCOMPATIBLE, "host",
                       "its table has %u bytes, fewer than the %u needed", size, least);
    if (size > TABLE_LIMIT)
        return gr_fail(error, GR_ERROR_INCOMPATIBLE, "host",
                       "its table claims %u bytes: not believed", size);
    const unsigned char *bytes = (const unsigned char *)backend;
    for (size_t i = sizeof *backend; i < size; i++) {
        if (bytes[i])
            return refuse(
                error, "its table is longer than this host's and uses what the host does not know");
    }
    return GR_OK;
}

static gr_status check_version(const gr_backend *backend, gr_error *error) {
    if (backend->abi_major != GR_ABI_MAJOR)
        return gr_fail(error, GR_ERROR_INCOMPATIBLE, "host",
                       "made for plugin interface %u.%u, this is %u.%u", backend->abi_major,
                       backend->abi_minor, GR_ABI_MAJOR, GR_ABI_MINOR);
    if (backend->flags & ~known_flags)
        return gr_fail(error, GR_ERROR_INCOMPATIBLE, "host",
                       "asks for something this host does not know (flags 0x%llx)",
                       (unsigned long long)(backend->flags & ~known_flags));
    return GR_OK;
}

static gr_status check_words(const gr_backend *backend, gr_error *error) {
    if (!backend->name || !good_name(backend->name, NAME_LIMIT))
        return refuse(error, "its name is not 1 to 31 letters, digits, '-' and '_'");
    if (!good_text(backend->version))
        return refuse(error, "its version is missing or not printable");
    if (!good_text(backend->build_id))
        return refuse(error, "its build id is missing or not printable");
    if (!backend->op_limit || !backend->dtype_limit)
        return refuse(error, "it does not say which ops and dtypes it knows");
    return GR_OK;
}

// The name of the first function that is missing; NULL when all are there.
static const char *missing_function(const gr_backend *b) {
#define CHECK(function) \
    if (!b->function)   \
    return #function
    CHECK(probe);
    CHECK(open);
    CHECK(close);
    CHECK(node_support);
    CHECK(buffer_alloc);
    CHECK(buffer_import);
    CHECK(buffer_destroy);
    CHECK(buffer_read);
    CHECK(buffer_write);
    CHECK(buffer_map);
    CHECK(weight_import);
    CHECK(weight_destroy);
    CHECK(kv_create);
    CHECK(kv_destroy);
    CHECK(kv_resize);
    CHECK(kv_page_bytes);
    CHECK(kv_copy_page);
    CHECK(kv_read);
    CHECK(kv_write);
    CHECK(program_compile);
    CHECK(program_destroy);
    CHECK(queue_create);
    CHECK(queue_destroy);
    CHECK(submit);
    CHECK(fence_create);
    CHECK(fence_destroy);
    CHECK(fence_wait);
#undef CHECK
    return NULL;
}

gr_status gr_abi_check(const gr_backend *backend, gr_error *error) {
    if (!backend)
        return gr_fail(error, GR_ERROR_INCOMPATIBLE, "host",
                       "it cannot work with plugin interface %u.%u", GR_ABI_MAJOR, GR_ABI_MINOR);
    gr_status status = check_version(backend, error);
    if (status == GR_OK)
        status = check_size(backend, error);
    if (status == GR_OK)
        status = check_words(backend, error);
    const char *missing = status == GR_OK ? missing_function(backend) : NULL;
    if (missing)
        return gr_fail(error, GR_ERROR_INCOMPATIBLE, "host", "its table lacks the function %s",
                       missing);
    return status;
}

gr_status gr_abi_check_facts(gr_device_facts *facts, gr_error *error) {
    if (facts->struct_size < offsetof(gr_device_facts, description) ||
        facts->struct_size > sizeof *facts)
        return gr_fail(error, GR_ERROR_INCOMPATIBLE, "host",
                       "facts of %u bytes where %zu are expected", facts->struct_size,
                       sizeof *facts);
    memset((char *)facts + facts->struct_size, 0, sizeof *facts - facts->struct_size);
    facts->struct_size = sizeof *facts; // what an older plugin does not know is zero
    if (!good_name(facts->name, sizeof facts->name))
        return refuse(error,
                      "a device whose name is not letters, digits, '-' and '_', or does not end");
    if (memchr(facts->description, '\0', sizeof facts->description) == NULL)
        return gr_fail(error, GR_ERROR_INCOMPATIBLE, "host",
                       "device %s: its description does not end", facts->name);
    for (char *c = facts->description; *c; c++) {
        if (*c < ' ' || *c > '~')
            *c = '?'; // terminals obey some of these
    }
    return GR_OK;
}

void gr_abi_settle_text(char *text, size_t capacity) {
    text[capacity - 1] = '\0';
    for (size_t length = strlen(text), at = 0; at < length;) {
        uint32_t c;
        int bytes = gr_utf8_decode(text + at, length - at, &c);
        const bool fine = bytes > 0 && c >= ' ' && (c < 0x7f || c > 0x9f);
        bytes = bytes > 0 ? bytes : 1;
        if (!fine)
            memset(text + at, '?', (size_t)bytes);
        at += (size_t)bytes;
    }
}

gr_status gr_abi_settle_error(gr_status status, gr_error *error) {
    if (status == GR_OK || !error)
        return status;
    error->struct_size = sizeof *error;
    error->code = status;
    gr_abi_settle_text(error->origin, sizeof error->origin);
    gr_abi_settle_text(error->message, sizeof error->message);
    if (!error->message[0])
        snprintf(error->message, sizeof error->message, "%s", gr_status_name(status));
    return status;
}

void gr_abi_settle_support(gr_support *support) {
    support->struct_size = sizeof *support;
    gr_abi_settle_text(support->reason, sizeof support->reason);
    if (support->level > GR_SUPPORT_NATIVE) {
        support->level = GR_SUPPORT_NO;
        snprintf(support->reason, sizeof support->reason,
                 "the plugin answered with a level that does not exist");
    }
    if (support->precision > GR_PRECISION_Q8_OUTLIERS)
        support->precision = GR_PRECISION_Q8_OUTLIERS;
}

static bool knows_values(const gr_backend *backend, const gr_segment *segment,
                         const uint32_t *values, uint32_t count, gr_dtype *out_dtype) {
    for (uint32_t i = 0; i < count; i++) {
        if (values[i] == GR_VALUE_NONE || values[i] >= segment->value_count)
            continue;
        *out_dtype = gr_segment_value(segment, values[i])->dtype;
        if (*out_dtype >= backend->dtype_limit)
            return false;
    }
    return true;
}

bool gr_abi_knows_node(const gr_backend *backend, const gr_segment *segment, uint32_t index,
                       gr_support *out_support) {
    const gr_node *node = gr_segment_node(segment, index);
    gr_dtype dtype = 0;
    *out_support = (gr_support){.struct_size = sizeof *out_support};
    if (node->op >= backend->op_limit) {
        snprintf(out_support->reason, sizeof out_support->reason, "op %u is newer than the plugin",
                 node->op);
        return false;
    }
    if (!knows_values(backend, segment, node->in, node->in_count, &dtype) ||
        !knows_values(backend, segment, node->out, node->out_count, &dtype)) {
        snprintf(out_support->reason, sizeof out_support->reason,
                 "dtype %s is newer than the plugin", gr_dtype_name(dtype));
        return false;
    }
    return true;
}
