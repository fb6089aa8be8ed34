// SPDX-License-Identifier: Apache-2.0
// Packing: within the time it is given, each panel once, the source told of when all are packed; and
// which node's memory a panel lies in.
#include <stdatomic.h>
#ifdef __linux__
#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#endif

#include "inside.h"

enum { ROW_BYTES = 4 * 18, PANEL_BYTES = CPU_PANEL * ROW_BYTES, PANELS = 75 };

// ---- A kernel that only copies, and counts

static _Atomic uint32_t packed_times[PANELS];
static const uint8_t *packed_from;
static uint32_t done_calls;
static const void *done_data;
static uint64_t done_bytes;

static void copy_panel(const uint8_t *rows, uint64_t stride, uint64_t k, uint8_t *panel) {
    assert_int_equal(stride, ROW_BYTES);
    assert_int_equal(k, 128);
    atomic_fetch_add(&packed_times[(rows - packed_from) / PANEL_BYTES], 1);
    memcpy(panel, rows, PANEL_BYTES / 2);
    usleep(20); // long enough for others to come by
    memcpy(panel + PANEL_BYTES / 2, rows + PANEL_BYTES / 2, PANEL_BYTES - PANEL_BYTES / 2);
}

static void note_done(const gr_host *host, const void *data, uint64_t bytes) {
    (void)host;
    done_calls++;
    done_data = data;
    done_bytes = bytes;
}

typedef struct packing {
    inside in;
    cpu_call call;
    uint8_t *data;
    gr_weight *weight;
    _Atomic uint32_t wrong;
    uint64_t pack_ns; // of each worker
} packing;

// A matrix whose bytes begin `offset` beyond an aligned address.
static void packing_open(packing *p, const char *xml, uint32_t threads, uint64_t offset) {
    memset(packed_times, 0, sizeof packed_times);
    done_calls = 0;
    *p = (packing){.data = malloc(PANELS * PANEL_BYTES + offset)};
    assert_non_null(p->data);
    for (uint32_t i = 0; i < PANELS * PANEL_BYTES; i++)
        p->data[offset + i] = (uint8_t)(i * 31 + i / 251);
    inside_open(&p->in, xml, threads, &p->call, 1);
    p->in.services.table.source_done = note_done;
    p->in.device.kernels.pack[GR_DTYPE_Q4_0] = copy_panel;
    const gr_weight_desc desc = {.struct_size = sizeof desc,
                                 .dtype = GR_DTYPE_Q4_0,
                                 .rank = 2,
                                 .consumer = GR_OP_MATMUL,
                                 .dims = {PANELS * CPU_PANEL, 128},
                                 .data = p->data + offset,
                                 .bytes = PANELS * PANEL_BYTES};
    assert_int_equal(cpu_weight_import(&p->in.device, &desc, &p->weight, NULL, &p->in.error), GR_OK);
    packed_from = p->weight->data;
}

static void packing_close(packing *p) {
    cpu_weight_destroy(&p->in.device, p->weight);
    inside_close(&p->in);
    free(p->data);
}

static const uint8_t *panel(packing *p, uint64_t *pack_ns, uint64_t index) {
    cpu_task task = inside_task(&p->in, 0, pack_ns);
    return cpu_weight_panel(&p->in.device.kernels, &task, p->weight, index);
}

static void test_without_time_nothing_is_packed(void **state) {
    (void)state;
    packing p;
    uint64_t none = 0, enough = UINT64_MAX;
    packing_open(&p, NULL, 1, 0);
    for (uint64_t i = 0; i < PANELS; i++)
        assert_null(panel(&p, &none, i));
    assert_non_null(panel(&p, &enough, 3));
    assert_non_null(panel(&p, &none, 3)); // what is packed stays so
    assert_null(panel(&p, &none, 4));
    packing_close(&p);
}

static void test_time_runs_out(void **state) {
    (void)state;
    packing p;
    uint64_t little = 1;
    packing_open(&p, NULL, 1, 0);
    assert_non_null(panel(&p, &little, 0)); // one panel takes longer than that
    assert_int_equal(little, 0);
    assert_null(panel(&p, &little, 1));
    packing_close(&p);
}

static void test_source_is_given_back_once_at_the_end(void **state) {
    (void)state;
    packing p;
    uint64_t enough = UINT64_MAX;
    packing_open(&p, NULL, 1, 0);
    for (uint64_t i = 0; i < PANELS; i++) {
        assert_int_equal(done_calls, 0);
        const uint8_t *at = panel(&p, &enough, (i * 7 + 3) % PANELS);
        assert_int_equal((uintptr_t)at % 64, 0);
    }
    for (uint64_t i = 0; i < PANELS; i++)
        assert_memory_equal(panel(&p, &enough, i), p.data + i * PANEL_BYTES, PANEL_BYTES);
    assert_int_equal(done_calls, 1);
    assert_ptr_equal(done_data, p.data);
    assert_int_equal(done_bytes, PANELS * PANEL_BYTES);
    packing_close(&p);
}

static void test_a_copied_source_is_not_the_files(void **state) {
    (void)state;
    packing p;
    uint64_t enough = UINT64_MAX;
    packing_open(&p, NULL, 1, 1); // unaligned: the weight is a copy
    for (uint64_t i = 0; i < PANELS; i++)
        assert_memory_equal(panel(&p, &enough, i), p.data + 1 + i * PANEL_BYTES, PANEL_BYTES);
    assert_int_equal(done_calls, 0);
    packing_close(&p);
}

// Every worker asks for every panel: it gets none, or the right one.
static void pack_all(const gr_worker *worker, void *argument) {
    packing *p = argument;
    uint64_t pack_ns = p->pack_ns;
    cpu_task task = inside_task(&p->in, worker->id, &pack_ns);
    for (uint32_t round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < PANELS; i++) {
            const uint8_t *at = cpu_weight_panel(&p->in.device.kernels, &task, p->weight, i);
            if (at && memcmp(at, p->data + i * PANEL_BYTES, PANEL_BYTES))
                atomic_fetch_add(&p->wrong, 1);
        }
    }
}

static void test_workers_pack_each_panel_once(void **state) {
    (void)state;
    for (uint32_t round = 0; round < 10; round++) {
        packing p;
        packing_open(&p, MACHINE("numa"), 4, 0);
        for (uint32_t step = 0; step < 100000 && p.weight->pack->packed < PANELS; step++) {
            p.pack_ns = round % 2 ? UINT64_MAX : 200000;
            gr_team_run(p.in.team, pack_all, &p);
        }
        assert_int_equal(p.wrong, 0);
        assert_int_equal(done_calls, 1);
        for (uint32_t i = 0; i < PANELS; i++)
            assert_int_equal(packed_times[i], 1);
        packing_close(&p);
    }
}

// ---- Nodes

enum { BINDS = 64 };

typedef struct binds {
    uint32_t count;
    uint8_t *begin[BINDS];
    uint64_t bytes[BINDS];
    uint32_t node[BINDS];
} binds;

static void note_bind(void *context, uint8_t *begin, uint64_t bytes, uint32_t node) {
    binds *b = context;
    assert_true(b->count < BINDS);
    b->begin[b->count] = begin;
    b->bytes[b->count] = bytes;
    b->node[b->count++] = node;
}

static uint32_t node_of(const binds *b, const uint8_t *at) {
    for (uint32_t i = 0; i < b->count; i++) {
        if (at >= b->begin[i] && at < b->begin[i] + b->bytes[i])
            return b->node[i];
    }
    fail_msg("a page was left out");
    return 0;
}

// Nodes of panels, by who takes them as its own.
static void own_nodes(inside *in, uint64_t panels, uint32_t *nodes) {
    uint64_t each = cpu_panels_each(panels, in->program.threads), begin, end;
    for (uint32_t g = 0; g < in->queue->group_count; g++) {
        cpu_group_share(&in->queue->groups[g], in->program.threads, (panels + each - 1) / each,
                        &begin, &end);
        for (uint64_t i = begin * each; i < end * each && i < panels; i++)
            nodes[i] = in->queue->groups[g].numa_node;
    }
}

static void check_spread(const char *xml, uint32_t threads, uint64_t matrices, uint64_t panels,
                         uint64_t panel_bytes, uint32_t nodes) {
    inside in;
    cpu_call call = {0};
    binds b = {0};
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), bytes = matrices * panels * panel_bytes;
    inside_open(&in, xml, threads, &call, 1);
    uint32_t *own = calloc(panels, sizeof *own);
    uint8_t *data = cpu_memory_map(bytes);
    assert_non_null(own);
    assert_non_null(data);
    own_nodes(&in, panels, own);
    cpu_memory_spread(&(cpu_spread){data, matrices, panels, panel_bytes, in.queue, threads},
                      note_bind, &b);
    assert_int_equal(b.count, nodes > 1 ? matrices * nodes : 1);
    const uint8_t *next = data;
    for (uint32_t i = 0; i < b.count; i++) { // whole pages, one after the other, to the end
        assert_ptr_equal(b.begin[i], next);
        assert_true(b.bytes[i] && b.bytes[i] % page == 0);
        next += b.bytes[i];
    }
    assert_true(next >= data + bytes && next < data + bytes + page);
    for (uint64_t i = 0; i < matrices * panels; i++) { // all but a page that two nodes share
        const uint8_t *first = data + i * panel_bytes, *last = first + panel_bytes - page;
        assert_int_equal(node_of(&b, first), own[i % panels]);
        if (panel_bytes > page)
            assert_int_equal(node_of(&b, last), own[i % panels]);
    }
    cpu_memory_unmap(data, bytes);
    free(own);
    inside_close(&in);
}

static void test_panels_lie_with_their_readers(void **state) {
    (void)state;
    check_spread(MACHINE("smt"), 4, 1, 256, 36864, 1);
    check_spread(MACHINE("numa"), 8, 1, 256, 36864, 2);   // whole pages
    check_spread(MACHINE("numa"), 2, 1, 67, 129024, 2);   // half a page left
    check_spread(MACHINE("wide"), 40, 1, 2000, 53760, 4); // an eighth
    check_spread(MACHINE("wide"), 8, 3, 64, 8064, 4);     // matrices of experts
    check_spread(MACHINE("uneven"), 5, 1, 100, 36864, 2);
}

static void test_memory_begins_on_a_page(void **state) {
    (void)state;
    uint64_t sizes[] = {1, 5000, (2 << 20) - 1, 2 << 20, (2 << 20) + 1, 9 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *data = cpu_memory_map(sizes[i]);
        assert_non_null(data);
        assert_int_equal((uintptr_t)data % (sizes[i] < 2 << 20 ? 4096 : 2 << 20), 0);
        assert_int_equal(data[0] | data[sizes[i] - 1], 0);
        data[0] = data[sizes[i] - 1] = 1;
        cpu_memory_unmap(data, sizes[i]);
    }
    assert_null(cpu_memory_map(0));
    assert_null(cpu_memory_map(UINT64_MAX));
    cpu_memory_unmap(NULL, 0);
}

static void test_the_system_prefers_the_node(void **state) {
    (void)state;
    enum { BYTES = 3 * 4096 };
    uint8_t *data = cpu_memory_map(BYTES);
    assert_non_null(data);
    assert_false(cpu_memory_bind(data, BYTES, 5000));
#ifdef __linux__
    int mode = -1;
    unsigned long nodes[17] = {0};
    bool bound = cpu_memory_bind(data, BYTES, 0);
    if (!bound && (errno == ENOSYS || errno == EPERM))
        skip(); // no NUMA in this kernel, or a sandbox
    assert_true(bound);
    assert_int_equal(syscall(SYS_get_mempolicy, &mode, nodes, 1025ul, data, (unsigned long)MPOL_F_ADDR), 0);
    assert_int_equal(mode, MPOL_PREFERRED);
    assert_int_equal(nodes[0], 1);
#endif
    cpu_memory_unmap(data, BYTES);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_time_nothing_is_packed),
        cmocka_unit_test(test_time_runs_out),
        cmocka_unit_test(test_source_is_given_back_once_at_the_end),
        cmocka_unit_test(test_a_copied_source_is_not_the_files),
        cmocka_unit_test(test_workers_pack_each_panel_once),
        cmocka_unit_test(test_panels_lie_with_their_readers),
        cmocka_unit_test(test_memory_begins_on_a_page),
        cmocka_unit_test(test_the_system_prefers_the_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
