// SPDX-License-Identifier: Apache-2.0
// case_memory.c: the descriptor, devices, buffers, weights and fences, with hostile arguments among
// them.
#include <string.h>

#include "suite.h"

// One check with a name: passes or fails with what was expected.
static void check(cf_suite *suite, const char *name, bool good) {
    if (good)
        cf_pass(suite, name);
    else
        cf_fail(suite, name, "not so");
}

static bool table_complete(const gr_backend *b) {
    return b->struct_size >= offsetof(gr_backend, get_extension) && b->probe && b->open &&
           b->close && b->node_support && b->buffer_alloc && b->buffer_import &&
           b->buffer_destroy && b->buffer_read && b->buffer_write && b->buffer_map &&
           b->weight_import && b->weight_destroy && b->kv_create && b->kv_destroy && b->kv_resize &&
           b->kv_page_bytes && b->kv_copy_page && b->kv_read && b->kv_write && b->program_compile &&
           b->program_destroy && b->queue_create && b->queue_destroy && b->submit &&
           b->fence_create && b->fence_destroy && b->fence_wait;
}

static bool name_good(const char *name) {
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    return name && *name && strspn(name, letters) == strlen(name);
}

// A caller that knows only the first fields of the facts.
static bool probes_short_struct(cf_suite *suite) {
    struct {
        uint32_t struct_size;
        gr_device_kind kind;
        gr_device_flags flags;
        uint64_t beyond;
    } facts = {.struct_size = 16, .beyond = 0x5a5a5a5a};
    uint32_t count = 0;
    return suite->backend->probe(&suite->host.table, &facts, 1, sizeof facts, &count, NULL) ==
               GR_OK &&
           count >= 1 && facts.struct_size == 16 && facts.flags == suite->facts.flags &&
           facts.beyond == 0x5a5a5a5a;
}

void cf_cases_table(cf_suite *suite) {
    if (!cf_wanted(suite, "TABLE") || !cf_case_begin(suite, "TABLE"))
        return;
    const gr_backend *b = suite->backend;
    uint32_t count = 0;
    gr_device *device = (gr_device *)&count;
    check(suite, "TABLE every function is there", table_complete(b));
    check(suite, "TABLE ABI numbers",
          b->abi_major == GR_ABI_MAJOR && b->op_limit && b->dtype_limit);
    check(suite, "TABLE name, version and build id",
          name_good(b->name) && b->version && *b->version && b->build_id && *b->build_id);
    check(suite, "TABLE probe counts without an array",
          b->probe(&suite->host.table, NULL, 0, 0, &count, NULL) == GR_OK && count >= 1);
    check(suite, "TABLE probe fills a shorter struct", probes_short_struct(suite));
    check(suite, "TABLE device name ends",
          name_good(suite->facts.name) &&
              memchr(suite->facts.description, 0, sizeof suite->facts.description));
    check(suite, "TABLE open refuses a device that is not there",
          b->open(&suite->host.table, 4000000000u, &device, NULL) != GR_OK && !device);
    check(suite, "TABLE unknown extension",
          !b->get_extension || !b->get_extension("nobody.nothing"));
    b->close(NULL);
    b->buffer_destroy(suite->device, NULL);
    b->weight_destroy(suite->device, NULL);
    b->kv_destroy(suite->device, NULL);
    b->program_destroy(suite->device, NULL);
    b->queue_destroy(suite->device, NULL);
    b->fence_destroy(suite->device, NULL);
    cf_pass(suite, "TABLE destroying nothing is legal");
    cf_case_end(suite);
}

static void buffers(cf_suite *suite) {
    const gr_backend *b = suite->backend;
    gr_buffer *buffer = NULL, *empty = NULL;
    uint8_t in[1000], out[1000] = {0};
    for (uint32_t i = 0; i < sizeof in; i++)
        in[i] = (uint8_t)(i * 7 + 3);
    bool made = !b->buffer_alloc(suite->device, 1000, &buffer, NULL) && buffer;
    check(suite, "MEMORY buffer of 1000 bytes", made);
    if (!made)
        return;
    bool same = !b->buffer_write(suite->device, NULL, buffer, 0, in, 1000, NULL) &&
                !b->buffer_read(suite->device, NULL, buffer, 17, out, 983, NULL) &&
                !memcmp(in + 17, out, 983);
    check(suite, "MEMORY buffer gives back what it was given", same);
    check(suite, "MEMORY buffer read past the end",
          b->buffer_read(suite->device, NULL, buffer, 999, out, 2, NULL) != GR_OK);
    check(suite, "MEMORY buffer write with an offset that overflows",
          b->buffer_write(suite->device, NULL, buffer, UINT64_MAX, in, 2, NULL) != GR_OK);
    check(suite, "MEMORY buffer copy of nothing at the end",
          b->buffer_read(suite->device, NULL, buffer, 1000, out, 0, NULL) == GR_OK);
    void *map = b->buffer_map(suite->device, buffer);
    bool host = suite->facts.flags & GR_DEVICE_HOST_MEMORY;
    check(suite, "MEMORY buffer map, as the flags say",
          host ? map && (uintptr_t)map % 64 == 0 : !map);
    b->buffer_destroy(suite->device, buffer);
    check(suite, "MEMORY buffer of no bytes",
          b->buffer_alloc(suite->device, 0, &empty, NULL) == GR_OK);
    b->buffer_destroy(suite->device, empty);
    buffer = (gr_buffer *)in;
    check(suite, "MEMORY buffer beyond all memory",
          b->buffer_alloc(suite->device, UINT64_MAX - 4096, &buffer, NULL) ==
                  GR_ERROR_OUT_OF_MEMORY &&
              !buffer);
}

static bool imports(cf_suite *suite, const gr_weight_desc *desc) {
    gr_weight *weight = (gr_weight *)(uintptr_t)desc;
    gr_weight_info info = {.struct_size = sizeof info};
    gr_error error;
    gr_error_init(&error);
    gr_status status = suite->backend->weight_import(suite->device, desc, &weight, &info, &error);
    if (status == GR_OK) {
        suite->backend->weight_destroy(suite->device, weight);
        return true;
    }
    if (weight || !error.message[0])
        cf_fail(suite, "MEMORY weight refused", "without a message, or with a weight");
    return false;
}

static void weights(cf_suite *suite) {
    static float data[64];
    const gr_weight_desc good = {.struct_size = sizeof good,
                                 .dtype = GR_DTYPE_F32,
                                 .rank = 2,
                                 .consumer = GR_OP_MATMUL,
                                 .dims = {2, 32, 1, 1},
                                 .data = data,
                                 .bytes = sizeof data,
                                 .name = "w"};
    gr_weight_desc bad[9];
    for (uint32_t i = 0; i < 9; i++)
        bad[i] = good;
    bad[0].rank = 0;
    bad[1].rank = 5;
    bad[2].dims[0] = -2;
    bad[3].dims[0] = INT64_MAX / 2;
    bad[4].bytes--;
    bad[5].dtype = 5;
    bad[6].dtype = GR_DTYPE_Q4_K; // 32 values are no block of 256
    bad[7].data = NULL;
    bad[8].dims[0] = INT64_C(1) << 59; // 2^59 rows of 128 bytes: 2^66
    bad[8].bytes = 0;
    static const char *const names[] = {"rank 0",
                                        "rank 5",
                                        "a negative size",
                                        "a size beyond the bytes",
                                        "a byte too few",
                                        "an unknown dtype",
                                        "half a block",
                                        "no data",
                                        "a size that overflows"};
    check(suite, "MEMORY weight", imports(suite, &good));
    for (uint32_t i = 0; i < 9; i++) {
        char name[96];
        snprintf(name, sizeof name, "MEMORY weight with %s is refused", names[i]);
        check(suite, name, !imports(suite, &bad[i]));
    }
    struct {
        gr_weight_desc known;
        uint64_t later;
    } newer = {.known = good};
    newer.known.struct_size = sizeof newer;
    check(suite, "MEMORY weight from a newer host, tail zero", imports(suite, &newer.known));
    newer.later = 1;
    check(suite, "MEMORY weight from a newer host, tail in use, is refused",
          !imports(suite, &newer.known));
}

static void fences(cf_suite *suite) {
    const gr_backend *b = suite->backend;
    gr_fence *fence = NULL;
    bool made = !b->fence_create(suite->device, &fence, NULL) && fence;
    check(suite, "MEMORY fence", made);
    if (!made)
        return;
    check(suite, "MEMORY fence begins at 0",
          b->fence_wait(suite->device, fence, 0, 0, NULL) == GR_OK);
    check(suite, "MEMORY fence asked, not there",
          b->fence_wait(suite->device, fence, 1, 0, NULL) == GR_ERROR_TIMEOUT);
    check(suite, "MEMORY fence waited 2 ms, not there",
          b->fence_wait(suite->device, fence, 1, 2000000, NULL) == GR_ERROR_TIMEOUT);
    b->fence_destroy(suite->device, fence);
}

void cf_cases_memory(cf_suite *suite) {
    static const struct {
        const char *name;
        void (*run)(cf_suite *suite);
    } cases[] = {
        {"MEMORY buffers", buffers}, {"MEMORY weights", weights}, {"MEMORY fences", fences}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (cf_wanted(suite, "MEMORY") && cf_case_begin(suite, cases[i].name)) {
            cases[i].run(suite);
            cf_case_end(suite);
        }
    }
}
