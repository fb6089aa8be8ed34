// SPDX-License-Identifier: Apache-2.0
// embed.c: turns files into a C table of bytes, at build time.
//
//     gregale-embed OUT.c SYMBOL ROOT FILE...      FILE is relative to ROOT, and is its name in the table
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int fail(const char *what, const char *path) {
    fprintf(stderr, "gregale-embed: cannot %s %s\n", what, path);
    return 1;
}

static int embed(FILE *out, int number, const char *root, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", root, name);
    FILE *in = fopen(path, "rb");
    if (!in)
        return fail("open", path);
    fprintf(out, "static const unsigned char file_%d[] = {", number);
    int byte, count = 0;
    while ((byte = getc(in)) != EOF)
        fprintf(out, "%s%d,", count++ % 32 ? "" : "\n", byte);
    fprintf(out, "0};\n"); // ends text, and keeps an empty file from being an empty array
    int bad = ferror(in);
    fclose(in);
    return bad ? fail("read", path) : 0;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: gregale-embed OUT.c SYMBOL ROOT FILE...\n");
        return 2;
    }
    FILE *out = fopen(argv[1], "w");
    if (!out)
        return fail("write", argv[1]);
    fprintf(out, "// Made by cmake/embed.c.\n#include \"base/embedded.h\"\n");
    for (int i = 4; i < argc; i++) {
        if (embed(out, i, argv[3], argv[i]))
            return 1;
    }
    fprintf(out, "const gr_embedded %s[] = {\n", argv[2]);
    for (int i = 4; i < argc; i++) {
        char path[4096];
        struct stat info;
        snprintf(path, sizeof path, "%s/%s", argv[3], argv[i]);
        if (stat(path, &info))
            return fail("look at", path);
        fprintf(out, "    {\"%s\", file_%d, sizeof file_%d - 1, %d},\n", argv[i], i, i,
                (info.st_mode & S_IXUSR) != 0);
    }
    fprintf(out, "    {0, 0, 0, 0}};\n");
    return fclose(out) ? fail("write", argv[1]) : 0;
}
