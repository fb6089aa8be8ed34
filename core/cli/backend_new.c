// SPDX-License-Identifier: Apache-2.0
// backend_new.c: gregale backend new NAME: writes the project of sdk/template with its name in place of
// "mydevice".
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/embedded.h"
#include "cli/backend.h"

extern const gr_embedded gr_embedded_template[];

static const char lower_word[] = "mydevice", upper_word[] = "MYDEVICE";
enum { NAME_LIMIT = 24 };

static error_t parse_extra(int key, char *value, void *context) {
    if (key != 'd')
        return ARGP_ERR_UNKNOWN;
    *(const char **)context = value;
    return 0;
}

// The name becomes part of C identifiers and of file names.
static bool name_good(const char *name) {
    size_t length = strlen(name);
    return length && length <= NAME_LIMIT && islower((unsigned char)name[0]) &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == length && strncmp(name, "gr_", 3);
}

// Appends `text` with every word replaced.
static void replace(gr_strbuf *out, const char *text, size_t size, const char *name, const char *upper) {
    const char *end = text + size;
    while (text < end) {
        const char *lower_at = memmem(text, (size_t)(end - text), lower_word, sizeof lower_word - 1);
        const char *upper_at = memmem(text, (size_t)(end - text), upper_word, sizeof upper_word - 1);
        const char *at = lower_at && (!upper_at || lower_at < upper_at) ? lower_at : upper_at;
        gr_strbuf_add(out, text, (size_t)((at ? at : end) - text));
        if (!at)
            return;
        gr_strbuf_text(out, at == lower_at ? name : upper);
        text = at + sizeof lower_word - 1;
    }
}

// Makes the folders that `path` stands in.
static bool make_folders(char *path) {
    for (char *at = path + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        bool made = mkdir(path, 0777) == 0 || errno == EEXIST;
        *at = '/';
        if (!made)
            return false;
    }
    return true;
}

static bool write_file(char *path, const gr_strbuf *text, bool executable) {
    if (!make_folders(path))
        return false;
    FILE *file = fopen(path, "wx"); // never over what is there
    if (!file)
        return false;
    bool good = fwrite(text->data, 1, text->size, file) == text->size;
    good = fclose(file) == 0 && good;
    return good && (!executable || chmod(path, 0755) == 0);
}

static bool is_empty(const char *folder) {
    DIR *entries = opendir(folder);
    int count = 0;
    while (entries && count <= 2 && readdir(entries))
        count++; // "." and ".." are two
    if (entries)
        closedir(entries);
    return entries && count <= 2;
}

static int write_all(const char *folder, const char *name) {
    char upper[NAME_LIMIT + 1] = "";
    for (size_t i = 0; name[i]; i++)
        upper[i] = (char)toupper((unsigned char)name[i]);
    for (const gr_embedded *file = gr_embedded_template; file->name; file++) {
        gr_strbuf path = {0}, text = {0};
        gr_strbuf_format(&path, "%s/", folder);
        replace(&path, file->name, strlen(file->name), name, upper);
        replace(&text, (const char *)file->data, file->size, name, upper);
        int code = GR_EXIT_OK;
        if (path.failed || text.failed)
            code = gr_complain(GR_EXIT_RESOURCES, "backend new: no memory");
        else if (!write_file(path.data, &text, file->executable))
            code = gr_complain(GR_EXIT_INPUT, "backend new: %s: %s", path.data, strerror(errno));
        gr_strbuf_deinit(&path);
        gr_strbuf_deinit(&text);
        if (code)
            return code;
    }
    return GR_EXIT_OK;
}

int gr_backend_new(int argc, char **argv) {
    static const struct argp_option extra[] = {
        {"dir", 'd', "FOLDER", 0, "Where to write it (default: a folder called NAME)", 0}, {0}};
    gr_cli_options options = {.positional_limit = 1};
    const char *folder = NULL;
    gr_options_parse(argc, argv, &options, "NAME",
                     "Write a project that builds a backend called NAME: it runs a model as it stands.",
                     extra, parse_extra, &folder);
    const char *name = options.positional[0];
    if (!name)
        return gr_complain(GR_EXIT_USAGE, "backend new: expected a name");
    if (!name_good(name))
        return gr_complain(
            GR_EXIT_USAGE,
            "backend new: '%s': expected up to %d lower-case letters, digits and '_', a letter first, "
            "not beginning with gr_",
            name, NAME_LIMIT);
    folder = folder ? folder : name;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return gr_complain(GR_EXIT_INPUT, "backend new: %s: %s", folder, strerror(errno));
    if (!is_empty(folder))
        return gr_complain(GR_EXIT_INPUT, "backend new: %s: is not an empty folder", folder);
    int code = write_all(folder, name);
    if (!code)
        printf("%s: a backend called %s; its README.md tells how to build it\n", folder, name);
    return code;
}
