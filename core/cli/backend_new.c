// SPDX-License-Identifier: Apache-2.0
// backend_new.c: gregale backend new NAME: writes the project of sdk/template with its name in place of
// "mydevice".
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

// Why a backend cannot be called so; NULL: it can. The name becomes part of C identifiers and of file names, and that of
// a device.
static const char *name_refused(const char *name) {
    static const char taken[] = " auto cpu ref split ";
    const size_t length = strlen(name);
    char word[NAME_LIMIT + 3];
    if (!length || length > NAME_LIMIT || !islower((unsigned char)name[0]) ||
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != length)
        return "expected up to 24 lower-case letters, digits and '_', a letter first";
    if (!strcmp(name, "gr") || !strncmp(name, "gr_", 3) || !strncmp(name, "gregale", 7))
        return "gr, gr_... and gregale... are the names of Gregale's own interface";
    snprintf(word, sizeof word, " %s ", name);
    return strstr(taken, word) ? "a device, or a way to choose one, is called so already" : NULL;
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
    good = fclose(file) == 0 && good && (!executable || chmod(path, 0755) == 0);
    const int why = errno;
    if (!good)
        unlink(path);
    errno = why;
    return good;
}

// Makes `folder`, or finds it empty; *out_made tells which.
static int take_folder(const char *folder, bool *out_made) {
    *out_made = mkdir(folder, 0777) == 0;
    DIR *entries = *out_made || errno == EEXIST ? opendir(folder) : NULL;
    int count = 0;
    if (!entries)
        return gr_complain(GR_EXIT_INPUT, "backend new: %s: %s", folder, strerror(errno));
    while (count <= 2 && readdir(entries))
        count++; // "." and ".." are two
    closedir(entries);
    return count <= 2 ? GR_EXIT_OK : gr_complain(GR_EXIT_INPUT, "backend new: %s: is not an empty folder", folder);
}

typedef struct project {
    const char *folder, *name;
    char upper[NAME_LIMIT + 1];
} project;

static void path_of(const project *p, const gr_embedded *file, gr_strbuf *out_path) {
    gr_strbuf_format(out_path, "%s/", p->folder);
    replace(out_path, file->name, strlen(file->name), p->name, p->upper);
}

static int write_one(const project *p, const gr_embedded *file) {
    gr_strbuf path = {0}, text = {0};
    int code = GR_EXIT_OK;
    path_of(p, file, &path);
    replace(&text, (const char *)file->data, file->size, p->name, p->upper);
    if (path.failed || text.failed)
        code = gr_complain(GR_EXIT_RESOURCES, "backend new: no memory");
    else if (!write_file(path.data, &text, file->executable))
        code = gr_complain(GR_EXIT_INPUT, "backend new: %s: %s", path.data, strerror(errno));
    gr_strbuf_deinit(&path);
    gr_strbuf_deinit(&text);
    return code;
}

// Takes away the files before `end`, and all folders within the project that are empty then.
static void unwrite(const project *p, const gr_embedded *end) {
    for (const gr_embedded *file = gr_embedded_template; file <= end; file++) {
        gr_strbuf path = {0};
        path_of(p, file, &path);
        if (!path.failed && file < end)
            unlink(path.data);
        for (char *at; !path.failed && (at = strrchr(path.data, '/')) > path.data + strlen(p->folder);) {
            *at = '\0';
            rmdir(path.data);
        }
        gr_strbuf_deinit(&path);
    }
}

static int write_all(const char *folder, const char *name) {
    project p = {.folder = folder, .name = name};
    for (size_t i = 0; name[i]; i++)
        p.upper[i] = (char)toupper((unsigned char)name[i]);
    for (const gr_embedded *file = gr_embedded_template; file->name; file++) {
        int code = write_one(&p, file);
        if (code) {
            unwrite(&p, file);
            return code;
        }
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
    const char *why = name_refused(name);
    if (why)
        return gr_complain(GR_EXIT_USAGE, "backend new: '%s': %s", name, why);
    folder = folder ? folder : name;
    bool made;
    int code = take_folder(folder, &made);
    if (code)
        return code;
    code = write_all(folder, name);
    if (!code)
        printf("%s: a backend called %s; its README.md tells how to build it\n", folder, name);
    else if (made)
        rmdir(folder);
    return code;
}
