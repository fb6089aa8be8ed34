// SPDX-License-Identifier: Apache-2.0
// status.h: what a call returns and how it explains a failure.
// For everyone: hosts, embedders, plugins. Self-contained (libc only), C11 and C++17.
// Threads: a gr_error belongs to its caller; two threads never share one.
#ifndef GREGALE_STATUS_H
#define GREGALE_STATUS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

// Result of every fallible call. Numbers are permanent; new ones are appended.
typedef int32_t gr_status;
enum {
    GR_OK = 0,
    GR_ERROR_INVALID_ARGUMENT = 1, // the caller passed something no correct caller passes
    GR_ERROR_NOT_FOUND = 2,        // a file, tensor, device, key or name does not exist
    GR_ERROR_UNSUPPORTED = 3,      // well-formed, but this build or device cannot do it
    GR_ERROR_CORRUPT = 4,          // a file or stream breaks its own format
    GR_ERROR_IO = 5,               // the operating system refused or failed
    GR_ERROR_OUT_OF_MEMORY = 6,    // nothing changed; may be retried with less
    GR_ERROR_OUT_OF_RANGE = 7,     // an index, position or size beyond a stated limit
    GR_ERROR_INCOMPATIBLE = 8,     // ABI, version or fingerprint does not match
    GR_ERROR_DEVICE_LOST = 9,      // sticky: only queries and destroy remain
    GR_ERROR_TIMEOUT = 10,         // a wait ended first; the work may still finish
    GR_ERROR_CANCELLED = 11,       // the caller asked to stop
    GR_ERROR_BUSY = 12,            // in use now; try later
    GR_ERROR_PERMISSION = 13,      // exists, but access is denied
    GR_ERROR_INTERNAL = 14,        // a defect of ours or of a plugin's
    GR_ERROR_SCRIPT = 15           // a user's script raised an error
};

// Explains one failure. Caller-owned, fixed size, so that failing never allocates.
// `message` is one line: which file or object, where, what was expected, what was found.
// `origin` names the room or plugin that failed ("gguf", "host", "cpu"...).
typedef struct gr_error {
    uint32_t struct_size; // sizeof(gr_error) as the caller was compiled
    gr_status code;
    char origin[24];
    char message[480];
} gr_error;

// Borrowed bytes, not NUL-terminated. An all-zero gr_str is the empty string.
typedef struct gr_str {
    const char *data;
    size_t size;
} gr_str;

#if defined(__GNUC__)
#define GR_PRINTF(format_index, first_argument) \
    __attribute__((format(printf, format_index, first_argument)))
#else
#define GR_PRINTF(format_index, first_argument)
#endif

// Empties `error` and stamps its size; call once before first use. NULL is legal.
static inline void gr_error_init(gr_error *error) {
    if (!error)
        return;
    error->struct_size = (uint32_t)sizeof *error;
    error->code = GR_OK;
    error->origin[0] = '\0';
    error->message[0] = '\0';
}

// Fills `error` (NULL is legal) with a formatted line, truncated to fit, and returns `code`, so that
// a failing call is `return gr_fail(error, GR_ERROR_CORRUPT, "gguf", "%s: ...", path);`.
GR_PRINTF(4, 5)
static inline gr_status gr_fail(gr_error *error, gr_status code, const char *origin,
                                const char *format, ...) {
    va_list arguments;
    if (!error)
        return code;
    error->code = code;
    snprintf(error->origin, sizeof error->origin, "%s", origin ? origin : "");
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return code;
}

// Names a status in lower case words ("out of memory"); never NULL.
static inline const char *gr_status_name(gr_status status) {
    static const char *const names[] = {
        "ok",           "invalid argument", "not found",   "unsupported", "corrupt",
        "input/output", "out of memory",    "out of range", "incompatible", "device lost",
        "timeout",      "cancelled",        "busy",        "permission denied", "internal",
        "script error"};
    if (status < 0 || (size_t)status >= sizeof names / sizeof names[0])
        return "unknown status";
    return names[status];
}

#ifdef __cplusplus
}
#endif
#endif
