// SPDX-License-Identifier: Apache-2.0
// log.h: one line at a time to whoever listens. Inside the core; only the command line prints.
// Threads: `sink` is called under no lock and must be safe from any thread.
#ifndef GREGALE_BASE_LOG_H
#define GREGALE_BASE_LOG_H

#include "gregale/backend.h"

// A listener; NULL or a NULL sink means silence.
typedef struct gr_log {
    void (*sink)(void *context, gr_log_level level, const char *line);
    void *context;
    gr_log_level level; // lines above it are dropped
} gr_log;

// Formats a line (truncated at 1 KiB) and hands it to the listener.
GR_PRINTF(3, 4)
void gr_log_line(const gr_log *log, gr_log_level level, const char *format, ...);

#endif
