// SPDX-License-Identifier: Apache-2.0
// careless.c: plugins that discovery takes and whose calls fail without saying so as they should, chosen by
// CARELESS_<WAY>.
#include "fake.h"

static gr_status probe(const gr_host *host, void *out_facts, uint32_t capacity, uint32_t stride,
                       uint32_t *out_count, gr_error *error) {
    const gr_device_facts facts = {.struct_size = sizeof facts, .name = "odd", .description = "odd"};
    (void)host, (void)error;
    *out_count = 1;
    if (capacity)
        fake_put(out_facts, stride, 0, &facts);
    return GR_OK;
}

#if defined(CARELESS_OPENS_NOTHING)
static gr_status open_nothing(const gr_host *host, uint32_t ordinal, gr_device **out_device, gr_error *error) {
    (void)host, (void)ordinal, (void)error;
    *out_device = NULL;
    return GR_OK;
}
#else
static gr_status fail(gr_device *device, gr_team *team, gr_queue **out_queue, gr_error *error) {
    (void)device, (void)team;
    *out_queue = NULL;
#if defined(CARELESS_MUMBLES)
    memset(error->message, 'A', sizeof error->message); // nothing ends
    memset(error->origin, 'B', sizeof error->origin);
#elif defined(CARELESS_DRIVES)
    gr_fail(error, GR_OK, "odd", "odd\033[31m");
#else
    (void)error;
#endif
    return GR_ERROR_OUT_OF_MEMORY;
}
#endif

GR_PLUGIN_ENTRY(careless) {
    static gr_backend table;
    (void)host_major, (void)host_minor;
    table = fake_table(CARELESS_NAME, 0, probe);
#if defined(CARELESS_OPENS_NOTHING)
    table.open = open_nothing;
#else
    table.queue_create = fail;
#endif
    return &table;
}
