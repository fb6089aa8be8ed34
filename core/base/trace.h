// SPDX-License-Identifier: Apache-2.0
// trace.h: a record of what ran, as a Chrome trace (JSON array format, "Trace Event Format").
// Inside the core. Threads: any; events are kept under a lock and written by gr_trace_write.
#ifndef GREGALE_BASE_TRACE_H
#define GREGALE_BASE_TRACE_H

#include <stdbool.h>

#include "gregale/backend.h"

typedef struct gr_trace gr_trace;

gr_status gr_trace_create(gr_trace **out_trace, gr_error *error);
void gr_trace_destroy(gr_trace *trace);
// Adds a copy of `event`; `category` is the device or room that reports it. Dropped (and counted) beyond
// a million events or when memory is short. NULL trace: does nothing.
void gr_trace_add(gr_trace *trace, const char *category, const char *op_name, const gr_trace_event *event);
uint64_t gr_trace_count(const gr_trace *trace);
uint64_t gr_trace_dropped(const gr_trace *trace);
// Calls `visit` with every event in order of arrival. Not beside gr_trace_add.
void gr_trace_visit(const gr_trace *trace,
                    void (*visit)(void *context, const char *category, const char *op_name,
                                  const gr_trace_event *event),
                    void *context);
// Writes all events to `path`, atomically (a temporary file, then rename).
gr_status gr_trace_write(const gr_trace *trace, const char *path, gr_error *error);

#endif
