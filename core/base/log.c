// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

void gr_log_line(const gr_log *log, gr_log_level level, const char *format, ...) {
    char line[1024];
    va_list arguments;
    if (!log || !log->sink || level > log->level)
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    log->sink(log->context, level, line);
}
