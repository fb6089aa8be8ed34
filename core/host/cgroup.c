// SPDX-License-Identifier: Apache-2.0
// cgroup.c: processor and memory limits of control groups, versions 1 and 2 (kernel documentation,
// admin-guide/cgroup-v1 and cgroup-v2). A limit anywhere above the process holds, so all levels are
// read.
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "host/internal.h"

enum { TEXT_LIMIT = 65536, PATH_BYTES = 4096 };

// Limits above this are how version 1 says "none".
static const uint64_t no_memory_limit = UINT64_C(1) << 60;

static bool read_text(const char *path, gr_strbuf *text) {
    gr_strbuf_clear(text);
    return gr_file_read(path, TEXT_LIMIT, text, NULL) == GR_OK && text->size;
}

static bool read_number(const char *directory, const char *file, gr_strbuf *text,
                        int64_t *out_value) {
    char path[PATH_BYTES], *end;
    if ((size_t)snprintf(path, sizeof path, "%s/%s", directory, file) >= sizeof path ||
        !read_text(path, text))
        return false;
    *out_value = strtoll(text->data, &end, 10);
    return end != text->data;
}

static void keep_quota(gr_cgroup_limits *limits, int64_t quota_us, int64_t period_us) {
    if (quota_us <= 0 || period_us <= 0 || quota_us > INT64_MAX / 1000)
        return;
    int64_t milli = quota_us * 1000 / period_us;
    uint32_t value = milli < 1 ? 1 : milli > UINT32_MAX ? UINT32_MAX : (uint32_t)milli;
    if (!limits->cpu_quota_milli || value < limits->cpu_quota_milli)
        limits->cpu_quota_milli = value;
}

static void keep_memory(gr_cgroup_limits *limits, int64_t bytes) {
    if (bytes <= 0 || (uint64_t)bytes >= no_memory_limit)
        return;
    if (!limits->memory_bytes || (uint64_t)bytes < limits->memory_bytes)
        limits->memory_bytes = (uint64_t)bytes;
}

// cpu.max is "QUOTA PERIOD" or "max PERIOD", in microseconds.
static void read_level_v2(const char *directory, gr_strbuf *text, gr_cgroup_limits *limits) {
    char path[PATH_BYTES];
    int64_t value;
    long long quota, period;
    if ((size_t)snprintf(path, sizeof path, "%s/cpu.max", directory) < sizeof path &&
        read_text(path, text) && sscanf(text->data, "%lld %lld", &quota, &period) == 2)
        keep_quota(limits, quota, period);
    if (read_number(directory, "memory.max", text, &value))
        keep_memory(limits, value);
}

static void read_level_cpu_v1(const char *directory, gr_strbuf *text, gr_cgroup_limits *limits) {
    int64_t quota, period;
    if (read_number(directory, "cpu.cfs_quota_us", text, &quota) &&
        read_number(directory, "cpu.cfs_period_us", text, &period))
        keep_quota(limits, quota, period);
}

static void read_level_memory_v1(const char *directory, gr_strbuf *text, gr_cgroup_limits *limits) {
    int64_t value;
    if (read_number(directory, "memory.limit_in_bytes", text, &value))
        keep_memory(limits, value);
}

typedef void (*level_reader)(const char *directory, gr_strbuf *text, gr_cgroup_limits *limits);

// Reads every level from base/group up to base itself. A group outside this namespace ("/../x")
// counts as the root.
static void walk(const char *base, const char *group, level_reader read_level,
                 gr_cgroup_limits *limits) {
    char path[PATH_BYTES];
    gr_strbuf text = {0};
    size_t base_length = strlen(base);
    if (strstr(group, ".."))
        group = "";
    if ((size_t)snprintf(path, sizeof path, "%s%s", base, group) < sizeof path) {
        for (;;) {
            read_level(path, &text, limits);
            char *slash = strrchr(path, '/');
            if (strlen(path) <= base_length || !slash || (size_t)(slash - path) < base_length)
                break;
            *slash = '\0';
        }
    }
    gr_strbuf_deinit(&text);
}

// Whether `list` ("cpu,cpuacct") names `controller`.
static bool has_controller(const char *list, const char *controller) {
    size_t length = strlen(controller);
    for (const char *at = list; *at; at += strcspn(at, ",")) {
        at += *at == ',';
        if (strcspn(at, ",") == length && !strncmp(at, controller, length))
            return true;
    }
    return false;
}

// One line of /proc/self/cgroup: "ID:CONTROLLERS:PATH"; version 2 has ID 0 and no controllers.
static void read_line(const char *root, char *line, gr_cgroup_limits *limits) {
    char base[PATH_BYTES];
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group)
        return;
    *controllers++ = *group++ = '\0';
    if (!*controllers) {
        walk(root, group, read_level_v2, limits);
        snprintf(base, sizeof base, "%s/unified", root); // both versions mounted
        walk(base, group, read_level_v2, limits);
        return;
    }
    snprintf(base, sizeof base, "%s/%s", root, controllers);
    if (has_controller(controllers, "cpu"))
        walk(base, group, read_level_cpu_v1, limits);
    if (has_controller(controllers, "memory"))
        walk(base, group, read_level_memory_v1, limits);
}

void gr_cgroup_read(const char *root, gr_cgroup_limits *out_limits) {
    char path[PATH_BYTES];
    gr_strbuf text = {0};
    *out_limits = (gr_cgroup_limits){0};
    if (root)
        snprintf(path, sizeof path, "%s/proc-self-cgroup", root);
    else
        snprintf(path, sizeof path, "/proc/self/cgroup");
    if (read_text(path, &text)) {
        char *rest = NULL;
        for (char *line = strtok_r(text.data, "\n", &rest); line;
             line = strtok_r(NULL, "\n", &rest))
            read_line(root ? root : "/sys/fs/cgroup", line, out_limits);
    }
    gr_strbuf_deinit(&text);
}
