// SPDX-License-Identifier: Apache-2.0
// The fault shim: without a plan it is the plugin it wraps, with one each fault is seen where a
// direct caller looks, a seed gives the same faults again, and every plugin stands skewed versions.
#include <dlfcn.h>
#include <pthread.h>
#include <time.h>

#include "bench.h"
#include "fault/control.h"

#define SHIM GREGALE_BINARY_DIR "/tests/fault"

static const struct wrapped {
    const char *device, *plugin;
} wrapped[] = {{"fault-ref", GREGALE_BINARY_DIR "/backends/gregale-backend-ref.so"},
               {"fault-cpu", GREGALE_BINARY_DIR "/backends/gregale-backend-cpu.so"},
               {"fault-far", GREGALE_BINARY_DIR "/tests/far/gregale-backend-far.so"}};
enum { WRAPPED = 3 };

static const gr_fault_control *control_of(const gr_backend *backend) {
    return backend->get_extension(GR_FAULT_EXTENSION);
}

// The wrapped device with all its objects; the plan takes effect behind that.
static void open_wrapped(bench *b, uint32_t which, const char *plan) {
    gr_error error;
    gr_error_init(&error);
    setenv("GREGALE_FAR_DELAY_US", "200", 1);
    setenv("GREGALE_FAULT_PLUGIN", wrapped[which].plugin, 1);
    bench_make(b, SHIM, wrapped[which].device);
    if (control_of(b->backend)->plan_set(plan, &error) != GR_OK)
        fail_msg("%s", error.message);
}

static uint64_t calls(const bench *b, gr_fault_point point) {
    return control_of(b->backend)->calls(point);
}

static uint64_t injected(const bench *b) {
    return control_of(b->backend)->injected(NULL, 0);
}

// The rows that the program looks up.
static void rows_are_right(bench *b) {
    float rows[ROWS * WIDTH];
    assert_int_equal(b->backend->buffer_read(b->device, b->queue, b->arena, 0, rows, BYTES, NULL),
                     GR_OK);
    for (uint32_t i = 0; i < ROWS * WIDTH; i++)
        assert_true(rows[i] == (float)(b->tokens[i / WIDTH] * WIDTH + (int)(i % WIDTH)));
}

static void step_is_right(bench *b, uint64_t value) {
    assert_int_equal(submit(b, value), GR_OK);
    assert_int_equal(wait(b, value, UINT64_MAX), GR_OK);
    rows_are_right(b);
}

static void without_a_plan_it_is_what_it_wraps(void **state) {
    (void)state;
    for (uint32_t w = 0; w < WRAPPED; w++) {
        bench b;
        open_wrapped(&b, w, NULL);
        for (uint64_t step = 1; step <= 20; step++)
            step_is_right(&b, step);
        assert_int_equal(calls(&b, GR_FAULT_SUBMIT), 20);
        assert_int_equal(calls(&b, GR_FAULT_COPY), 20);
        assert_int_equal(injected(&b), 0);
        assert_null(b.backend->get_extension("nobody.nothing"));
        assert_string_equal(b.backend->name, "fault");
        assert_string_equal(b.opened->facts.name, wrapped[w].device);
        bool pinned = b.backend->flags & GR_BACKEND_PINNED;
        bench_close(&b);
        if (!w) // cpu is pinned, so the shim stays from then on
            assert_true(!pinned && !dlopen(wrapped[w].plugin, RTLD_NOW | RTLD_NOLOAD));
    }
}

// ---- Out of memory ----

// Each call that makes something, once; what was made is destroyed again.
static gr_status make(bench *b, gr_fault_point point) {
    const gr_backend *k = b->backend;
    const gr_weight_desc weight = {.struct_size = sizeof weight,
                                   .rank = 1,
                                   .consumer = GR_OP_RMS_NORM,
                                   .dims = {WIDTH, 1, 1, 1},
                                   .data = b->table,
                                   .bytes = WIDTH * sizeof(float),
                                   .name = "another"};
    gr_weight_info weight_info = {.struct_size = sizeof weight_info, .device_bytes = 7};
    gr_program_info info = {.struct_size = sizeof info, .fused_nodes = 7};
    void *made = b;
    gr_status status = GR_ERROR_INTERNAL;
    switch (point) {
    case GR_FAULT_BUFFER:
        status = k->buffer_alloc(b->device, 64, (gr_buffer **)&made, NULL);
        k->buffer_destroy(b->device, made);
        break;
    case GR_FAULT_WEIGHT:
        status = k->weight_import(b->device, &weight, (gr_weight **)&made, &weight_info, NULL);
        assert_true(status == GR_OK || !weight_info.device_bytes);
        k->weight_destroy(b->device, made);
        break;
    case GR_FAULT_KV:
        status = k->kv_create(b->device, &bench_pool, (gr_kv **)&made, NULL);
        k->kv_destroy(b->device, made);
        break;
    case GR_FAULT_COMPILE:
        status = k->program_compile(b->device, &b->desc, (gr_program **)&made, &info, NULL);
        assert_true(status == GR_OK || !info.fused_nodes);
        k->program_destroy(b->device, made);
        break;
    case GR_FAULT_QUEUE:
        status = k->fence_create(b->device, (gr_fence **)&made, NULL);
        k->fence_destroy(b->device, made);
        break;
    case GR_FAULT_RESIZE:
        made = NULL;
        status = k->kv_resize(b->device, b->kv, 5, NULL);
        break;
    }
    assert_true(status == GR_OK || !made);
    return status;
}

static const gr_fault_point makers[] = {GR_FAULT_BUFFER, GR_FAULT_WEIGHT,  GR_FAULT_KV,
                                        GR_FAULT_RESIZE, GR_FAULT_COMPILE, GR_FAULT_QUEUE};
enum { MAKERS = sizeof makers / sizeof makers[0] };

static void memory_ends_at_the_call_named(void **state) {
    static const char *const plans[] = {"buffer:2=oom", "weight:2=oom",  "kv:2=oom",
                                        "resize:2=oom", "compile:2=oom", "queue:2=oom"};
    (void)state;
    for (uint32_t w = 0; w < WRAPPED; w++) {
        bench b;
        open_wrapped(&b, w, NULL);
        for (uint32_t m = 0; m < MAKERS; m++) {
            assert_int_equal(control_of(b.backend)->plan_set(plans[m], NULL), GR_OK);
            assert_int_equal(make(&b, makers[m]), GR_OK);
            assert_int_equal(make(&b, makers[m]), GR_ERROR_OUT_OF_MEMORY);
            assert_int_equal(make(&b, makers[m]), GR_OK); // may be retried
            assert_int_equal(injected(&b), 1);
        }
        step_is_right(&b, 1);
        bench_close(&b);
    }
}

static void memory_ends_at_any_allocation(void **state) {
    (void)state;
    bench b;
    open_wrapped(&b, 0, "alloc:2-4=oom,alloc:6+=oom");
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(make(&b, makers[i % MAKERS]),
                         i == 0 || i == 4 ? GR_OK : GR_ERROR_OUT_OF_MEMORY);
    assert_int_equal(injected(&b), 6);
    assert_int_equal(submit(&b, 1), GR_OK); // is none
    bench_close(&b);
}

// The host's memory ends under the wrapped plugin, which then answers for itself.
static void host_memory_ends(void **state) {
    (void)state;
    for (uint32_t w = 0; w < WRAPPED; w++) {
        bench b;
        open_wrapped(&b, w, "memory:1=oom");
        assert_int_equal(make(&b, GR_FAULT_BUFFER), GR_ERROR_OUT_OF_MEMORY);
        assert_int_equal(make(&b, GR_FAULT_BUFFER), GR_OK);
        step_is_right(&b, 1);
        bench_close(&b);
    }
}

static void a_step_without_memory_may_be_retried(void **state) {
    (void)state;
    bench b;
    open_wrapped(&b, 2, "submit:1=oom");
    assert_int_equal(submit(&b, 1), GR_ERROR_OUT_OF_MEMORY);
    assert_int_equal(wait(&b, 1, 0), GR_ERROR_TIMEOUT);
    step_is_right(&b, 1);
    bench_close(&b);
}

// ---- Lost ----

// Only queries and destroy work.
static void is_lost(bench *b, uint64_t reached) {
    gr_support support = {.struct_size = sizeof support};
    gr_error error;
    gr_error_init(&error);
    float row[WIDTH];
    const gr_kv_region region = {.struct_size = sizeof region, .count = 1};
    for (uint32_t m = 0; m < MAKERS; m++)
        assert_int_equal(make(b, makers[m]), GR_ERROR_DEVICE_LOST);
    assert_int_equal(submit(b, reached + 1), GR_ERROR_DEVICE_LOST);
    assert_int_equal(wait(b, reached + 1, UINT64_MAX), GR_ERROR_DEVICE_LOST);
    assert_int_equal(wait(b, reached, UINT64_MAX), GR_OK); // it came before
    assert_int_equal(b->backend->buffer_read(b->device, NULL, b->arena, 0, row, sizeof row, &error),
                     GR_ERROR_DEVICE_LOST);
    assert_non_null(strstr(error.message, "injected"));
    assert_int_equal(b->backend->kv_read(b->device, b->queue, b->kv, &region, GR_DTYPE_F32, row,
                                         sizeof row, NULL),
                     GR_ERROR_DEVICE_LOST);
    assert_int_equal(b->backend->kv_copy_page(b->device, NULL, b->kv, 0, 1, 1, NULL),
                     GR_ERROR_DEVICE_LOST);
    assert_int_not_equal(b->backend->kv_page_bytes(b->device, b->kv), 0);
    b->backend->node_support(b->device, &b->segment, 0, &support);
    assert_int_not_equal(support.level, GR_SUPPORT_NO);
}

static void lost_at_a_submit(void **state) {
    (void)state;
    for (uint32_t w = 0; w < WRAPPED; w++) {
        bench b;
        gr_device *again = NULL;
        open_wrapped(&b, w, "submit:3=lost");
        step_is_right(&b, 1);
        step_is_right(&b, 2);
        assert_int_equal(submit(&b, 3), GR_ERROR_DEVICE_LOST);
        is_lost(&b, 2);
        assert_int_equal(injected(&b), 1);
        const gr_host *host = gr_registry_host(b.registry); // a device apart from it is well
        assert_int_equal(b.backend->open(host, 0, &again, NULL), GR_OK);
        gr_buffer *buffer = NULL;
        assert_int_equal(b.backend->buffer_alloc(again, 64, &buffer, NULL), GR_OK);
        b.backend->buffer_destroy(again, buffer);
        b.backend->close(again);
        bench_close(&b);
    }
}

static void lost_anywhere_else(void **state) {
    static const char *const plans[] = {"buffer:1=lost", "weight:1=lost",  "kv:1=lost",
                                        "resize:1=lost", "compile:1=lost", "queue:1=lost"};
    (void)state;
    for (uint32_t m = 0; m < MAKERS; m++) {
        bench b;
        open_wrapped(&b, 0, plans[m]);
        assert_int_equal(make(&b, makers[m]), GR_ERROR_DEVICE_LOST);
        is_lost(&b, 0);
        bench_close(&b);
    }
    bench b;
    gr_device *again = (gr_device *)&b;
    float row[WIDTH];
    open_wrapped(&b, 2, "copy:1=lost,open:1=lost,open:2=oom");
    assert_int_equal(b.backend->buffer_read(b.device, NULL, b.arena, 0, row, sizeof row, NULL),
                     GR_ERROR_DEVICE_LOST);
    is_lost(&b, 0);
    const gr_host *host = gr_registry_host(b.registry);
    assert_int_equal(b.backend->open(host, 0, &again, NULL), GR_ERROR_DEVICE_LOST);
    assert_null(again);
    assert_int_equal(b.backend->open(host, 0, &again, NULL), GR_ERROR_OUT_OF_MEMORY);
    assert_null(again);
    bench_close(&b);
}

static void a_fence_that_fails_loses_the_device(void **state) {
    (void)state;
    for (uint32_t w = 0; w < WRAPPED; w++) {
        bench b;
        open_wrapped(&b, w, "fence:2=lost");
        step_is_right(&b, 1);
        assert_int_equal(submit(&b, 2), GR_OK);
        assert_int_equal(submit(&b, 3), GR_OK); // nobody has looked yet
        assert_int_equal(wait(&b, 1, UINT64_MAX), GR_OK);
        assert_int_equal(wait(&b, 3, UINT64_MAX), GR_ERROR_DEVICE_LOST);
        is_lost(&b, 1);
        bench_close(&b);
    }
}

// ---- Late, and never ----

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void a_late_fence_comes(void **state) {
    (void)state;
    for (uint32_t w = 0; w < WRAPPED; w++) {
        bench b;
        open_wrapped(&b, w, "fence:2=late 300ms,fence:3=late 1us,fence:4=late 100ms");
        step_is_right(&b, 1);
        uint64_t start = now_ms();
        assert_int_equal(submit(&b, 2), GR_OK);
        assert_int_equal(submit(&b, 3), GR_OK); // stands behind it
        if (now_ms() - start < 200) {
            assert_int_equal(wait(&b, 1, 0), GR_OK);
            assert_int_equal(wait(&b, 2, 0), GR_ERROR_TIMEOUT);
            assert_int_equal(wait(&b, 3, 1000000), GR_ERROR_TIMEOUT);
        }
        assert_int_equal(wait(&b, 3, UINT64_MAX), GR_OK);
        assert_true(now_ms() - start >= 299);
        start = now_ms();
        assert_int_equal(submit(&b, 4), GR_OK);
        rows_are_right(&b); // a copy ordered behind it
        assert_true(now_ms() - start >= 99);
        assert_int_equal(injected(&b), 3);
        bench_close(&b);
    }
}

static gr_status submit_to(bench *b, gr_program *program, gr_queue *queue, gr_fence *signal, gr_fence *wait_for) {
    const uint64_t one = 1;
    const gr_submit step = {.struct_size = sizeof step,
                            .wait_count = wait_for ? 1 : 0,
                            .program = program,
                            .scratch = b->scratch,
                            .waits = &wait_for,
                            .wait_values = &one,
                            .signal = signal,
                            .signal_value = 1};
    return b->backend->submit(b->device, queue, &step, NULL);
}

static void a_queue_hangs(void **state) {
    (void)state;
    for (uint32_t w = 0; w < WRAPPED; w++) {
        bench b;
        gr_queue *other = NULL;
        gr_fence *fences[3] = {NULL};
        gr_buffer *arena = NULL; // of the other queue, whose steps are in no order with those that hang
        gr_program *beside = NULL;
        gr_program_info made = {.struct_size = sizeof made};
        float row[WIDTH];
        const uint64_t soon = 5000000;
        open_wrapped(&b, w, "fence:1=never");
        const gr_backend *k = b.backend;
        assert_int_equal(k->buffer_alloc(b.device, BYTES, &arena, NULL), GR_OK);
        gr_program_desc desc = b.desc;
        desc.arena = arena;
        assert_int_equal(k->program_compile(b.device, &desc, &beside, &made, NULL), GR_OK);
        assert_int_equal(k->queue_create(b.device, b.team, &other, NULL), GR_OK);
        for (uint32_t f = 0; f < 3; f++)
            assert_int_equal(k->fence_create(b.device, &fences[f], NULL), GR_OK);
        assert_int_equal(submit(&b, 1), GR_OK);
        assert_int_equal(wait(&b, 1, soon), GR_ERROR_TIMEOUT);
        assert_int_equal(submit_to(&b, b.program, b.queue, fences[0], NULL), GR_OK); // behind it
        assert_int_equal(k->fence_wait(b.device, fences[0], 1, soon, NULL), GR_ERROR_TIMEOUT);
        assert_int_equal(submit_to(&b, beside, other, fences[1], NULL), GR_OK); // beside it
        assert_int_equal(k->fence_wait(b.device, fences[1], 1, UINT64_MAX, NULL), GR_OK);
        assert_int_equal(k->buffer_read(b.device, other, arena, 0, row, sizeof row, NULL), GR_OK);
        assert_int_equal(submit_to(&b, beside, other, fences[2], fences[0]), GR_OK); // waits for it
        assert_int_equal(k->fence_wait(b.device, fences[2], 1, soon, NULL), GR_ERROR_TIMEOUT);
        assert_int_equal(k->buffer_read(b.device, b.queue, b.arena, 0, row, sizeof row, NULL),
                         GR_ERROR_TIMEOUT);
        for (uint64_t step = 2; step < 200; step++) // goes on taking steps
            assert_int_equal(submit(&b, step), GR_OK);
        k->fence_destroy(b.device, fences[0]); // another at its address is another
        assert_int_equal(k->fence_create(b.device, &fences[0], NULL), GR_OK);
        k->queue_destroy(b.device, b.queue);
        assert_int_equal(k->queue_create(b.device, b.team, &b.queue, NULL), GR_OK);
        assert_int_equal(submit_to(&b, b.program, b.queue, fences[0], NULL), GR_OK);
        assert_int_equal(k->fence_wait(b.device, fences[0], 1, UINT64_MAX, NULL), GR_OK);
        for (uint32_t f = 0; f < 3; f++)
            k->fence_destroy(b.device, fences[f]);
        k->queue_destroy(b.device, other);
        k->program_destroy(b.device, beside);
        k->buffer_destroy(b.device, arena);
        bench_close(&b);
    }
}

static void *wait_for_ever(void *argument) {
    bench *b = argument;
    return (void *)(uintptr_t)wait(b, 1, UINT64_MAX);
}

// A waiter without a limit stays until the device is lost.
static void who_waits_for_ever_is_told(void **state) {
    (void)state;
    bench b;
    pthread_t thread;
    void *status = NULL;
    open_wrapped(&b, 0, "fence:1=never,submit:2=lost");
    assert_int_equal(submit(&b, 1), GR_OK);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_ever, &b), 0);
    usleep(20000);
    assert_int_equal(submit(&b, 2), GR_ERROR_DEVICE_LOST);
    pthread_join(thread, &status);
    assert_int_equal((uintptr_t)status, GR_ERROR_DEVICE_LOST);
    bench_close(&b);
}

// ---- Plans ----

// A series of calls, some of which fail; writes the faults. Calls go to new devices once one is lost.
static uint64_t draw(const char *plan, gr_fault_event *out_events, uint32_t capacity) {
    bench b;
    gr_device *device = NULL;
    open_wrapped(&b, 0, plan);
    const gr_host *host = gr_registry_host(b.registry);
    for (uint32_t i = 0; i < 300; i++) {
        gr_buffer *buffer = NULL;
        if (!device && b.backend->open(host, 0, &device, NULL) != GR_OK)
            continue;
        gr_status status = b.backend->buffer_alloc(device, 64, &buffer, NULL);
        b.backend->buffer_destroy(device, buffer);
        if (status == GR_ERROR_DEVICE_LOST) {
            b.backend->close(device);
            device = NULL;
        }
        submit(&b, i + 1);
    }
    b.backend->close(device);
    uint64_t count = control_of(b.backend)->injected(out_events, capacity);
    bench_close(&b);
    return count;
}

// The number of a point's first fault; 0: it has none.
static uint64_t first_of(const gr_fault_event *events, uint64_t count, gr_fault_point point) {
    for (uint64_t i = 0; i < count; i++) {
        if (events[i].point == point)
            return events[i].number;
    }
    return 0;
}

static void a_seed_gives_the_same_faults_again(void **state) {
    enum { MOST = 200 };
    static gr_fault_event first[MOST], again[MOST], other[MOST];
    (void)state;
    const char *plan = "seed:1234,rate:0.05,only:oom+lost,at:buffer+submit+open";
    uint64_t count = draw(plan, first, MOST);
    assert_true(count > 10 && count < MOST);
    assert_int_equal(draw(plan, again, MOST), count);
    assert_memory_equal(first, again, count * sizeof *first);
    uint32_t kinds = 0, points = 0;
    for (uint64_t i = 0; i < count; i++)
        kinds |= 1u << first[i].kind, points |= 1u << first[i].point;
    assert_int_equal(kinds, 1u << GR_FAULT_OOM | 1u << GR_FAULT_LOST);
    assert_int_equal(points & ~(1u << GR_FAULT_OPEN),
                     1u << GR_FAULT_BUFFER | 1u << GR_FAULT_SUBMIT);
    assert_int_not_equal(first_of(first, count, GR_FAULT_BUFFER),
                         first_of(first, count, GR_FAULT_SUBMIT));
    draw("seed:1235,rate:0.05,only:oom+lost,at:buffer+submit+open", other, MOST);
    assert_memory_not_equal(first, other, 10 * sizeof *first);
    assert_int_equal(draw("seed:1234,rate:0", other, MOST), 0);
    assert_int_equal(draw("seed:1234,rate:0.5,only:oom,limit:3", other, MOST), 3);
    count = draw("seed:1234,rate:0.1,only:oom", other, MOST);
    assert_true(count > 20 && count < MOST);
    assert_int_equal(first_of(other, count, GR_FAULT_ALLOC), 0);
}

// A rule beside a seed holds where it names a call.
static void delays_are_drawn(void **state) {
    gr_fault_event events[64];
    (void)state;
    bench b;
    open_wrapped(&b, 0, "fence:1=late 7us,seed:5,rate:1,only:late,late:50us");
    for (uint64_t step = 1; step <= 200; step++)
        assert_int_equal(submit(&b, step), GR_OK);
    assert_int_equal(wait(&b, 200, UINT64_MAX), GR_OK);
    assert_int_equal(control_of(b.backend)->injected(events, 64), 200);
    assert_int_equal(events[0].delay_ns, 7000);
    for (uint32_t i = 1; i < 64; i++)
        assert_true(events[i].delay_ns >= 1 && events[i].delay_ns <= 50000);
    assert_true(events[1].delay_ns != events[2].delay_ns);
    for (uint64_t step = 201; step <= 400; step++)
        step_is_right(&b, step);
    bench_close(&b);
}

static void nonsense_is_refused(void **state) {
    static const char *const plans[] = {
        "submit", "submit:", "submit:0=lost", "submit:2-1=lost", "submit:1=never", "submit:1=none",
        "fence:1=late", "fence:1=late 5", "fence:1=late 5m", "memory:1=lost", "nowhere:1=oom",
        "seed:x", "rate:2", "rate:-1", "only:oom+", "only:fire", "at:", "buffer:1=oom;", ",",
        "copy:1=oom", "buffer:1=oom x"};
    (void)state;
    bench b;
    open_wrapped(&b, 0, "buffer:1=oom");
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        gr_error error;
        gr_error_init(&error);
        if (control_of(b.backend)->plan_set(plans[i], &error) != GR_ERROR_INVALID_ARGUMENT)
            fail_msg("accepted: %s", plans[i]);
        assert_non_null(strstr(error.message, "fault plan, '"));
    }
    assert_int_equal(make(&b, GR_FAULT_BUFFER), GR_ERROR_OUT_OF_MEMORY); // the old plan stays
    bench_close(&b);
}

// Settings that make no sense leave a plugin that is refused, with the reason.
static void settings_are_checked(void **state) {
    static const struct {
        const char *plugin, *plan, *skew, *reason;
    } cases[] = {{NULL, NULL, NULL, "no absolute path"},
                 {"relative.so", NULL, NULL, "no absolute path"},
                 {"/nowhere/plugin.so", NULL, NULL, "/nowhere/plugin.so"},
                 {SHIM "/gregale-backend-fault.so", NULL, NULL, "no plugin to wrap"},
                 {"@ref", "submit:0=lost", NULL, "expected :N"},
                 {"@ref", NULL, "older", "skew 'older'"}};
    static const char *const directories[] = {SHIM, NULL};
    const gr_registry_options options = {.directories = directories, .only_explicit = true};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gr_registry *registry;
        const char *plugin = cases[i].plugin;
        plugin = plugin && plugin[0] == '@' ? wrapped[0].plugin : plugin;
        setenv("GREGALE_FAULT_PLUGIN", plugin ? plugin : "", 1);
        setenv("GREGALE_FAULT_PLAN", cases[i].plan ? cases[i].plan : "", 1);
        setenv("GREGALE_FAULT_SKEW", cases[i].skew ? cases[i].skew : "", 1);
        assert_int_equal(gr_registry_create(&options, &registry, NULL), GR_OK);
        assert_int_equal(gr_registry_device_count(registry), 0);
        bool told = false;
        for (uint32_t p = 0; p < gr_registry_plugin_count(registry); p++)
            told |= strstr(gr_registry_plugin(registry, p)->reason, cases[i].reason) != NULL;
        assert_true(told);
        gr_registry_destroy(registry);
    }
    unsetenv("GREGALE_FAULT_PLAN");
    unsetenv("GREGALE_FAULT_SKEW");
}

static void a_plan_comes_from_the_environment(void **state) {
    (void)state;
    bench b;
    gr_buffer *buffer = NULL;
    setenv("GREGALE_FAULT_PLUGIN", wrapped[0].plugin, 1);
    setenv("GREGALE_FAULT_PLAN", "submit:1=lost", 1);
    setenv("GREGALE_FAULT_NAME", "odd", 1);
    bench_make(&b, SHIM, "odd");
    assert_int_equal(submit(&b, 1), GR_ERROR_DEVICE_LOST);
    assert_int_equal(b.backend->buffer_alloc(b.device, 64, &buffer, NULL), GR_ERROR_DEVICE_LOST);
    bench_close(&b);
    unsetenv("GREGALE_FAULT_PLAN");
    unsetenv("GREGALE_FAULT_NAME");
}

// Copies of the shim under other names have settings, plans and counts of their own.
static void two_shims_stand_apart(void **state) {
    (void)state;
    bench a, b;
    setenv("GREGALE_FAULT_B_PLUGIN", wrapped[2].plugin, 1);
    open_wrapped(&a, 0, "submit:1=lost");
    bench_make(&b, SHIM, "fault-b-far");
    assert_int_equal(submit(&a, 1), GR_ERROR_DEVICE_LOST);
    step_is_right(&b, 1);
    assert_int_equal(injected(&a), 1);
    assert_int_equal(injected(&b), 0);
    bench_close(&b);
    bench_close(&a);
    unsetenv("GREGALE_FAULT_B_PLUGIN");
}

// ---- Versions ----

// A step of a row less: the last row stays as it was.
static void step_is_right_but_for_the_last(bench *b, uint64_t value) {
    const float was = (float)((VOCABULARY - ROWS) * WIDTH);
    float row[WIDTH];
    assert_int_equal(submit(b, value), GR_OK);
    assert_int_equal(wait(b, value, UINT64_MAX), GR_OK);
    for (uint32_t i = 0; i < ROWS; i++) {
        assert_int_equal(b->backend->buffer_read(b->device, b->queue, b->arena, i * sizeof row, row,
                                                 sizeof row, NULL),
                         GR_OK);
        assert_true(row[0] == (i + 1 < ROWS ? (float)(b->tokens[i] * WIDTH) : was));
    }
}

static void versions_may_differ(void **state) {
    static const char *const skews[] = {"short-topology", "old-host", "new-host",
                                        "long-structs",   "new-table", "short-topology,old-host,long-structs"};
    (void)state;
    for (uint32_t w = 0; w < WRAPPED; w++) {
        for (size_t s = 0; s < sizeof skews / sizeof skews[0]; s++) {
            bench b;
            float in[8] = {1, 2, 3, 4, 5, 6, 7, 8}, out[8] = {0};
            const gr_kv_region region = {
                .struct_size = sizeof region, .layer = 1, .page = 2, .slot = 1, .count = 1};
            setenv("GREGALE_FAULT_SKEW", skews[s], 1);
            open_wrapped(&b, w, NULL);
            const gr_backend *k = b.backend;
            step_is_right(&b, 1);
            b.tokens[0] = b.tokens[ROWS - 1] = 0; // the step block is read again
            b.step.rows = b.seq_rows[1] = ROWS - 1;
            step_is_right_but_for_the_last(&b, 2);
            for (uint32_t m = 0; m < MAKERS; m++)
                assert_int_equal(make(&b, makers[m]), GR_OK);
            assert_int_equal(k->kv_write(b.device, b.queue, b.kv, &region, GR_DTYPE_F32, in,
                                         sizeof in, NULL),
                             GR_OK);
            assert_int_equal(k->kv_read(b.device, b.queue, b.kv, &region, GR_DTYPE_F32, out,
                                        sizeof out, NULL),
                             GR_OK);
            assert_memory_equal(in, out, sizeof in);
            bench_close(&b);
        }
    }
    unsetenv("GREGALE_FAULT_SKEW");
}

// A table that ends before get_extension is as good.
static void an_older_table_is_accepted(void **state) {
    (void)state;
    bench b;
    setenv("GREGALE_FAULT_SKEW", "old-table", 1);
    setenv("GREGALE_FAULT_PLUGIN", wrapped[0].plugin, 1);
    bench_make(&b, SHIM, wrapped[0].device);
    assert_int_equal(b.backend->struct_size, offsetof(gr_backend, get_extension));
    step_is_right(&b, 1);
    bench_close(&b);
    unsetenv("GREGALE_FAULT_SKEW");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_plan_it_is_what_it_wraps),
        cmocka_unit_test(memory_ends_at_the_call_named),
        cmocka_unit_test(memory_ends_at_any_allocation),
        cmocka_unit_test(host_memory_ends),
        cmocka_unit_test(a_step_without_memory_may_be_retried),
        cmocka_unit_test(lost_at_a_submit),
        cmocka_unit_test(lost_anywhere_else),
        cmocka_unit_test(a_fence_that_fails_loses_the_device),
        cmocka_unit_test(a_late_fence_comes),
        cmocka_unit_test(a_queue_hangs),
        cmocka_unit_test(who_waits_for_ever_is_told),
        cmocka_unit_test(a_seed_gives_the_same_faults_again),
        cmocka_unit_test(delays_are_drawn),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(settings_are_checked),
        cmocka_unit_test(a_plan_comes_from_the_environment),
        cmocka_unit_test(two_shims_stand_apart),
        cmocka_unit_test(versions_may_differ),
        cmocka_unit_test(an_older_table_is_accepted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
