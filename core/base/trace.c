// SPDX-License-Identifier: Apache-2.0
#include "base/trace.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"

enum { MAX_EVENTS = 1 << 20, NAME_BYTES = 40 };

typedef struct traced_event {
    gr_trace_event event; // its `implementation` points nowhere; see below
    char category[16];
    char op_name[16];
    char implementation[NAME_BYTES];
} traced_event;

struct gr_trace {
    pthread_mutex_t lock;
    traced_event *events;
    uint64_t count, capacity, dropped;
};

gr_status gr_trace_create(gr_trace **out_trace, gr_error *error) {
    *out_trace = NULL;
    gr_trace *trace = calloc(1, sizeof *trace);
    if (!trace)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "trace", "no memory for a trace");
    pthread_mutex_init(&trace->lock, NULL);
    *out_trace = trace;
    return GR_OK;
}

void gr_trace_destroy(gr_trace *trace) {
    if (!trace)
        return;
    pthread_mutex_destroy(&trace->lock);
    free(trace->events);
    free(trace);
}

static bool grow(gr_trace *trace) {
    if (trace->count < trace->capacity)
        return true;
    uint64_t capacity = trace->capacity ? trace->capacity * 2 : 1024;
    if (capacity > MAX_EVENTS)
        return false;
    traced_event *events = realloc(trace->events, (size_t)capacity * sizeof *events);
    if (!events)
        return false;
    trace->events = events;
    trace->capacity = capacity;
    return true;
}

void gr_trace_add(gr_trace *trace, const char *category, const char *op_name, const gr_trace_event *event) {
    if (!trace)
        return;
    pthread_mutex_lock(&trace->lock);
    if (grow(trace)) {
        traced_event *kept = &trace->events[trace->count++];
        kept->event = *event;
        kept->event.implementation = NULL;
        snprintf(kept->category, sizeof kept->category, "%s", category ? category : "");
        snprintf(kept->op_name, sizeof kept->op_name, "%s", op_name ? op_name : "");
        snprintf(kept->implementation, sizeof kept->implementation, "%s",
                 event->implementation ? event->implementation : "");
    } else {
        trace->dropped++;
    }
    pthread_mutex_unlock(&trace->lock);
}

uint64_t gr_trace_count(const gr_trace *trace) {
    return trace ? trace->count : 0;
}

uint64_t gr_trace_dropped(const gr_trace *trace) {
    return trace ? trace->dropped : 0;
}

void gr_trace_visit(const gr_trace *trace,
                    void (*visit)(void *context, const char *category, const char *op_name,
                                  const gr_trace_event *event),
                    void *context) {
    for (uint64_t i = 0; trace && i < trace->count; i++) {
        gr_trace_event event = trace->events[i].event;
        event.implementation = trace->events[i].implementation;
        visit(context, trace->events[i].category, trace->events[i].op_name, &event);
    }
}

static void write_event(void *context, const char *category, const char *op_name, const gr_trace_event *e) {
    gr_strbuf *text = context;
    gr_strbuf_format(text, "%s{\"name\":", text->size > 2 ? ",\n" : "");
    gr_strbuf_json(text, (gr_str){op_name, strlen(op_name)});
    gr_strbuf_text(text, ",\"cat\":");
    gr_strbuf_json(text, (gr_str){category, strlen(category)});
    gr_strbuf_format(text, ",\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":%.3f,\"dur\":%.3f,\"args\":{",
                     (double)e->start_ns / 1e3, (double)(e->end_ns - e->start_ns) / 1e3);
    gr_strbuf_text(text, "\"implementation\":");
    gr_strbuf_json(text, (gr_str){e->implementation, strlen(e->implementation)});
    gr_strbuf_format(text, ",\"layer\":%d,\"rows\":%u,\"bytes\":%llu,\"operations\":%llu}}", e->layer, e->rows,
                     (unsigned long long)e->bytes, (unsigned long long)e->operations);
}

gr_status gr_trace_write(const gr_trace *trace, const char *path, gr_error *error) {
    gr_strbuf text = {0};
    gr_strbuf_text(&text, "[\n");
    gr_trace_visit(trace, write_event, &text);
    gr_strbuf_text(&text, "\n]\n");
    gr_status status = text.failed ? gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "trace", "%s: no memory to write a trace", path)
                                   : gr_file_write(path, text.data, text.size, error);
    gr_strbuf_deinit(&text);
    return status;
}
