// SPDX-License-Identifier: Apache-2.0
// hostile.c: plugins that are broken in one way each, chosen by HOSTILE_<WAY>. The host must
// survive all of them and say what is wrong.
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "fake.h"

#if defined(HOSTILE_NO_SYMBOL)
void unrelated(void);
GR_EXPORT void unrelated(void) {
}
#else

static uint32_t calls;

static struct {
    gr_backend table;
    uint64_t tail[2];
} whole;

static gr_status probe(const gr_host *host, void *out_facts, uint32_t capacity, uint32_t stride,
                       uint32_t *out_count, gr_error *error) {
    gr_device_facts facts = {.struct_size = sizeof facts, .name = "odd", .description = "odd"};
    (void)host;
    *out_count = 1;
    calls++;
#if defined(HOSTILE_CRASH)
    raise(SIGSEGV);
#elif defined(HOSTILE_ABORT)
    abort();
#elif defined(HOSTILE_EXIT)
    _exit(0);
#elif defined(HOSTILE_HANG)
    for (;;)
        pause();
#elif defined(HOSTILE_ENDLESS)
    *out_count = UINT32_MAX;
#elif defined(HOSTILE_GROWING)
    *out_count = calls; // more devices than there was room for: only those that fit are believed
#elif defined(HOSTILE_FAILS)
    return gr_fail(error, GR_ERROR_IO, "odd", "driver \033[31mmissing\nsecond line");
#elif defined(HOSTILE_UNENDED)
    memset(facts.name, 'x', sizeof facts.name);
#elif defined(HOSTILE_TWICE)
    *out_count = 2;
#elif defined(HOSTILE_ESCAPES)
    memcpy(facts.description, "\033[2Jgone\n", 10);
#elif defined(HOSTILE_CHANGES)
    whole.table.open = NULL;
    whole.table.name = "other";
    whole.table.struct_size = 8;
#elif defined(HOSTILE_RENAMES)
    snprintf(facts.name, sizeof facts.name, "process%d", (int)getpid());
#elif defined(HOSTILE_SHORT_FACTS)
    facts.struct_size = offsetof(gr_device_facts, description);
#elif defined(HOSTILE_LONG_FACTS)
    facts.struct_size = sizeof facts + 8;
#elif defined(HOSTILE_SILENT)
    return GR_OK; // counts a device and writes nothing about it
#endif
    for (uint32_t i = 0; i < capacity && i < *out_count; i++)
        fake_put(out_facts, stride, i, &facts);
    (void)error;
    return GR_OK;
}

#if defined(HOSTILE_CONSTRUCTOR)
__attribute__((constructor)) static void construct(void) {
    raise(SIGSEGV);
}
#endif

GR_PLUGIN_ENTRY(hostile) {
    (void)host_major, (void)host_minor;
#if defined(HOSTILE_ENTRY_ABORT)
    abort();
#elif defined(HOSTILE_ENTRY_HANG)
    for (;;)
        pause();
#endif
    whole.table = fake_table(HOSTILE_NAME, 0, probe);
#if defined(HOSTILE_WILD_TABLE)
    return (const gr_backend *)1;
#elif defined(HOSTILE_WILD_NAME)
    whole.table.name = (const char *)1;
#endif
#if defined(HOSTILE_NULL)
    return NULL;
#elif defined(HOSTILE_MAJOR)
    whole.table.abi_major = GR_ABI_MAJOR + 7;
#elif defined(HOSTILE_SHORT)
    whole.table.struct_size = 64;
#elif defined(HOSTILE_HUGE)
    whole.table.struct_size = 0x7fffffff;
#elif defined(HOSTILE_TAIL)
    whole.table.struct_size = sizeof whole;
    whole.tail[1] = 1;
#elif defined(HOSTILE_ZERO_TAIL)
    whole.table.struct_size = sizeof whole; // newer, and asks for nothing new: welcome
#elif defined(HOSTILE_BRIEF)
    whole.table.struct_size = offsetof(gr_backend, get_extension); // what follows is not its own
    memset(&whole.table.get_extension, 0x5a, sizeof whole.table.get_extension);
#elif defined(HOSTILE_NEWER)
    whole.table.abi_minor = GR_ABI_MINOR + 40;
    whole.table.op_limit = GR_OP_LIMIT + 7;
    whole.table.struct_size = sizeof whole;
#elif defined(HOSTILE_LACKS)
    whole.table.kv_resize = NULL;
#elif defined(HOSTILE_BAD_NAME)
    whole.table.name = "../../etc";
#elif defined(HOSTILE_NO_VERSION)
    whole.table.version = NULL;
#elif defined(HOSTILE_FLAGS)
    whole.table.flags = UINT64_C(1) << 40;
#elif defined(HOSTILE_RUDE) // says nothing of it
#elif defined(HOSTILE_CRASH) || defined(HOSTILE_ABORT) || defined(HOSTILE_EXIT) || \
    defined(HOSTILE_HANG) || defined(HOSTILE_RISKY_GOOD) || defined(HOSTILE_RENAMES)
    whole.table.flags = GR_BACKEND_RISKY_PROBE;
#endif
    return &whole.table;
}
#endif
