// SPDX-License-Identifier: Apache-2.0
// discover.c: where backend plugins are looked for, and which files are candidates.
//
// Order: directories given explicitly; GREGALE_PLUGIN_PATH; the user's data directory; beside this
// library or program (installed, and the build tree); the directory compiled in. The working
// directory is never searched. A privileged process trusts only the explicit and the compiled-in
// ones.
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/os.h"
#include "host/internal.h"

#ifndef GREGALE_BACKEND_DIR
#define GREGALE_BACKEND_DIR "/usr/local/lib/gregale/backends"
#endif

enum { FILES_LIMIT = 256, PATH_BYTES = 4096 };

typedef struct search {
    gr_arena *arena;
    gr_discovery *found;
    bool failed; // out of memory
} search;

static void *grow(void *array, uint32_t count, uint32_t *capacity, size_t element) {
    if (count < *capacity)
        return array;
    uint32_t wanted = *capacity ? *capacity * 2 : 16;
    void *grown = realloc(array, wanted * element);
    if (grown)
        *capacity = wanted;
    return grown;
}

static const char *keep(search *s, const char *text) {
    const char *kept = gr_arena_string(s->arena, text, strlen(text));
    s->failed |= !kept;
    return kept;
}

static void note(search *s, const char *path, const char *outcome) {
    gr_discovery *d = s->found;
    gr_searched *places = grow(d->places, d->place_count, &d->place_capacity, sizeof *places);
    if (!places) {
        s->failed = true;
        return;
    }
    d->places = places;
    places[d->place_count] = (gr_searched){keep(s, path), keep(s, outcome)};
    d->place_count += !s->failed;
}

static bool same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

// Adds a file unless it is already there by another path (a link, a directory listed twice).
static bool add_file(search *s, const char *path) {
    gr_discovery *d = s->found;
    for (uint32_t i = 0; i < d->file_count; i++) {
        if (same_file(d->files[i], path))
            return false;
    }
    const char **files = grow(d->files, d->file_count, &d->file_capacity, sizeof *files);
    if (!files) {
        s->failed = true;
        return false;
    }
    d->files = files;
    files[d->file_count] = keep(s, path);
    d->file_count += !s->failed;
    return !s->failed;
}

static bool is_candidate(const char *name) {
    static const char prefix[] = "gregale-backend-", suffix[] = ".so";
    size_t length = strlen(name), begin = sizeof prefix - 1, end = sizeof suffix - 1;
    return length > begin + end && !strncmp(name, prefix, begin) &&
           !strcmp(name + length - end, suffix);
}

static int filter_candidates(const struct dirent *entry) {
    return is_candidate(entry->d_name);
}

static int by_bytes(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name); // alphasort would follow the locale
}

static void search_directory(search *s, const char *directory) {
    struct dirent **entries = NULL;
    char text[PATH_BYTES];
    uint32_t added = 0;
    if (s->failed)
        return;
    for (uint32_t i = 0; i < s->found->place_count; i++) {
        if (same_file(s->found->places[i].path, directory))
            return; // already searched
    }
    int count = scandir(directory, &entries, filter_candidates, by_bytes);
    if (count < 0) {
        note(s, directory, errno == ENOENT ? "does not exist" : strerror(errno));
        return;
    }
    for (int i = 0; i < count; i++) {
        int length = snprintf(text, sizeof text, "%s/%s", directory, entries[i]->d_name);
        if (length > 0 && (size_t)length < sizeof text && s->found->file_count < FILES_LIMIT)
            added += add_file(s, text);
        free(entries[i]);
    }
    free(entries);
    snprintf(text, sizeof text, "%u plugin file%s", added, added == 1 ? "" : "s");
    note(s, directory, text);
}

static void search_environment(search *s) {
    const char *list = getenv("GREGALE_PLUGIN_PATH");
    char path[PATH_BYTES];
    while (list && *list) {
        size_t length = strcspn(list, ":");
        if (length && length < sizeof path) {
            memcpy(path, list, length);
            path[length] = '\0';
            if (path[0] == '/')
                search_directory(s, path);
            else
                note(s, path, "ignored: in GREGALE_PLUGIN_PATH, but not an absolute path");
        }
        list += length + (list[length] == ':');
    }
}

static void search_user(search *s) {
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    char path[PATH_BYTES];
    int length = -1;
    if (data && data[0] == '/')
        length = snprintf(path, sizeof path, "%s/gregale/backends", data);
    else if (home && home[0] == '/')
        length = snprintf(path, sizeof path, "%s/.local/share/gregale/backends", home);
    if (length > 0 && (size_t)length < sizeof path)
        search_directory(s, path);
}

// Beside libgregale (LIBDIR/gregale/backends; build tree: backends) or the program (bin beside
// lib).
static void search_beside(search *s) {
    static const char *const below[] = {"gregale/backends", "backends", "../backends",
                                        "../lib/gregale/backends"};
    static const char anchor = 0; // an address within this library or program
    char here[PATH_BYTES / 2], path[PATH_BYTES], clean[PATH_MAX];
    if (!gr_os_library_directory(&anchor, here, sizeof here))
        return;
    for (size_t i = 0; i < sizeof below / sizeof below[0]; i++) {
        struct stat info;
        snprintf(path, sizeof path, "%s/%s", here, below[i]);
        if (realpath(path, clean) && stat(clean, &info) == 0 && S_ISDIR(info.st_mode))
            search_directory(s, clean);
    }
}

gr_status gr_discovery_run(const char *const *explicit_directories, bool only_explicit,
                           gr_arena *arena, gr_discovery *out_discovery, gr_error *error) {
    search s = {.arena = arena, .found = out_discovery};
    *out_discovery = (gr_discovery){0};
    for (uint32_t i = 0; explicit_directories && explicit_directories[i]; i++)
        search_directory(&s, explicit_directories[i]);
    if (!only_explicit && !gr_os_privileged()) {
        search_environment(&s);
        search_user(&s);
        search_beside(&s);
    }
    if (!only_explicit)
        search_directory(&s, GREGALE_BACKEND_DIR);
    if (!s.failed)
        return GR_OK;
    gr_discovery_deinit(out_discovery);
    return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "host", "no memory to list plugins");
}

void gr_discovery_deinit(gr_discovery *discovery) {
    free(discovery->places);
    free(discovery->files);
    *discovery = (gr_discovery){0};
}
