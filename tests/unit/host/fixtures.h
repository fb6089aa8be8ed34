// SPDX-License-Identifier: Apache-2.0
// fixtures.h: made-up machines and scratch folders for the tests of this room.
#ifndef FIXTURES_H
#define FIXTURES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/host.h"

#define MACHINE(name) GREGALE_SOURCE_DIR "/tests/data/topology/" name ".xml"
#define PLUGINS(set) GREGALE_BINARY_DIR "/tests/plugins/" set

static inline gr_topology *machine_with(gr_topology_options options) {
    gr_topology *topology;
    gr_error error;
    gr_error_init(&error);
    if (gr_topology_create(&options, &topology, &error) != GR_OK)
        fail_msg("%s", error.message);
    return topology;
}

static inline gr_topology *machine(const char *xml_path) {
    return machine_with((gr_topology_options){.xml_path = xml_path});
}

// A folder under /tmp, gone with scratch_remove.
static inline char *scratch_make(char path[64]) {
    snprintf(path, 64, "/tmp/gregale-test-XXXXXX");
    assert_non_null(mkdtemp(path));
    return path;
}

static inline void scratch_remove(const char *path) {
    char command[128];
    assert_true(!strncmp(path, "/tmp/gregale-test-", 18));
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
}

// Writes DIRECTORY/NAME, making the folders in between.
static inline void scratch_write(const char *directory, const char *name, const char *text) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    for (char *at = path + strlen(directory) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        mkdir(path, 0755);
        *at = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

#endif
