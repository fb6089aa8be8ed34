// SPDX-License-Identifier: Apache-2.0
// Finding and loading plugins: broken ones are refused one by one with a reason, the rest work.
#include <dirent.h>
#include <sys/wait.h>

#include "base/os.h"
#include "fixtures.h"

static gr_registry *registry_with(const gr_registry_options *options) {
    gr_registry *registry;
    gr_error error;
    gr_error_init(&error);
    if (gr_registry_create(options, &registry, &error) != GR_OK)
        fail_msg("%s", error.message);
    return registry;
}

static gr_registry *registry_within(uint32_t timeout_ms, const char *first, const char *second) {
    const char *directories[] = {first, second, NULL};
    gr_registry_options options = {.directories = directories,
                                   .only_explicit = true,
                                   .topology = {.xml_path = MACHINE("smt")},
                                   .probe_timeout_ms = timeout_ms};
    return registry_with(&options);
}

// As long as it takes: a helper process begins late on a busy machine.
static gr_registry *registry_of(const char *first, const char *second) {
    return registry_within(120000, first, second);
}

static const gr_plugin_entry_info *plugin_at(const gr_registry *r, const char *path_end) {
    for (uint32_t i = 0; i < gr_registry_plugin_count(r); i++) {
        const gr_plugin_entry_info *info = gr_registry_plugin(r, i);
        size_t length = strlen(info->path), end = strlen(path_end);
        if (length >= end && !strcmp(info->path + length - end, path_end))
            return info;
    }
    fail_msg("no plugin at %s", path_end);
    return NULL;
}

static const struct {
    const char *file;
    const char *reason; // part of it; NULL: accepted
} broken[] = {
    {"crash", "crashed in the helper process (Segmentation fault)"},
    {"abort", "crashed in the helper process (Aborted)"},
    {"exit", "ended the helper process"},
    {"endless", "reports 4294967295 devices; at most 64 are believed"},
    {"growing", NULL},
    {"fails", "driver ?[31mmissing?second line"},
    {"unended", "does not end"},
    {"twice", "two devices called odd"},
    {"escapes", NULL},
    {"silent", "name is not letters"},
    {"no_symbol", "no symbol gregale_plugin_entry"},
    {"null", "cannot work with plugin interface 0.2"},
    {"major", "made for plugin interface 7.2"},
    {"short", "64 bytes, fewer than"},
    {"huge", "not believed"},
    {"tail", "uses what the host does not know"},
    {"zero_tail", NULL},
    {"lacks", "lacks the function kv_resize"},
    {"bad_name", "name is not 1 to 31 letters"},
    {"no_version", "version is missing"},
    {"flags", "flags 0x10000000000"},
    {"risky_good", NULL},
    {"brief", NULL},
    {"newer", NULL},
    {"changes", NULL},
    {"renames", NULL},
    {"short_facts", NULL},
    {"long_facts", "facts of 336 bytes where 328 are expected"},
};

static void test_each_broken_plugin_has_its_reason(void **state) {
    (void)state;
    gr_registry *r = registry_of(PLUGINS("hostile"), PLUGINS("machine"));
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        char file[64];
        snprintf(file, sizeof file, "/gregale-backend-%s.so", broken[i].file);
        const gr_plugin_entry_info *info = plugin_at(r, file);
        if (info->accepted != !broken[i].reason ||
            !strstr(info->reason, broken[i].reason ? broken[i].reason : ""))
            fail_msg("%s: %s", broken[i].file, info->reason);
    }
    // The good ones beside them work, and broken ones left no device.
    assert_true(plugin_at(r, "/gregale-backend-processor.so")->accepted);
    assert_int_equal(gr_registry_device_count(r), 3 + 9); // of machine: no accelerator is here
    gr_registry_destroy(r);
}

static void test_descriptions_cannot_drive_a_terminal(void **state) {
    (void)state;
    gr_registry *r = registry_of(PLUGINS("hostile"), NULL);
    gr_strbuf text = {0};
    bool seen = false;
    for (uint32_t i = 0; i < gr_registry_device_count(r); i++)
        seen |= !strcmp(gr_registry_device(r, i)->facts.description, "?[2Jgone?");
    assert_true(seen);
    assert_int_equal(gr_registry_why(r, false, &text, NULL), GR_OK);
    assert_null(strchr(text.data, '\033'));
    gr_strbuf_deinit(&text);
    gr_registry_destroy(r);
}

static void test_a_plugin_that_hangs_is_stopped(void **state) {
    (void)state;
    gr_registry *r = registry_within(300, PLUGINS("hanging"), NULL);
    gr_strbuf text = {0};
    const gr_plugin_entry_info *info = plugin_at(r, "/gregale-backend-hang.so");
    assert_false(info->accepted);
    assert_non_null(strstr(info->reason, "did not end within 0.3 s"));
    assert_int_equal(gr_registry_why(r, false, &text, NULL), GR_OK);
    assert_non_null(strstr(text.data, "did not end within"));
    gr_strbuf_deinit(&text);
    gr_registry_destroy(r);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void copy_start(const char *from, const char *to, size_t bytes) {
    char *data = malloc(1 << 20);
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_non_null(in);
    assert_non_null(out);
    size_t count = fread(data, 1, 1 << 20, in);
    count = bytes < count ? bytes : count;
    assert_int_equal(fwrite(data, 1, count, out), count);
    fclose(in);
    fclose(out);
    free(data);
}

static void test_files_that_are_no_libraries(void **state) {
    (void)state;
    static const size_t lengths[] = {1, 63, 64, 200, 700, 4096, 8000};
    char scratch[64], path[128];
    scratch_make(scratch);
    scratch_write(scratch, "gregale-backend-empty.so", "");
    scratch_write(scratch, "gregale-backend-garbage.so",
                  "#!/bin/sh\necho this is no shared object at all, really\n");
    scratch_write(scratch, "gregale-backend-folder.so/x", "");
    scratch_write(scratch, "unrelated.so", "");
    scratch_write(scratch, "gregale-backend-.so", "");
    snprintf(path, sizeof path, "%s/gregale-backend-link.so", scratch);
    assert_int_equal(symlink("/nowhere", path), 0);
    snprintf(path, sizeof path, "%s/gregale-backend-pipe.so", scratch);
    assert_int_equal(mkfifo(path, 0600), 0);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        snprintf(path, sizeof path, "%s/gregale-backend-cut%zu.so", scratch, lengths[i]);
        copy_start(PLUGINS("machine") "/gregale-backend-steady.so", path, lengths[i]);
    }
    gr_registry *r = registry_of(scratch, PLUGINS("machine"));
    assert_int_equal(gr_registry_plugin_count(r), 5 + sizeof lengths / sizeof lengths[0] + 4);
    for (uint32_t i = 0; i < gr_registry_plugin_count(r); i++) {
        const gr_plugin_entry_info *info = gr_registry_plugin(r, i);
        bool ours = !strncmp(info->path, scratch, strlen(scratch));
        assert_int_equal(info->accepted, !ours);
        assert_int_equal(info->reason[0] != '\0', ours);
    }
    assert_non_null(strstr(plugin_at(r, "garbage.so")->reason, "not a shared object"));
    assert_non_null(strstr(plugin_at(r, "folder.so")->reason, "not a regular file"));
    assert_non_null(strstr(plugin_at(r, "cut8000.so")->reason, "cut off"));
    gr_registry_destroy(r);
    scratch_remove(scratch);
}

static void test_first_of_one_name_wins(void **state) {
    (void)state;
    gr_registry *r = registry_of(PLUGINS("second"), PLUGINS("hostile"));
    assert_true(plugin_at(r, "/second/gregale-backend-growing.so")->accepted);
    const gr_plugin_entry_info *other = plugin_at(r, "/hostile/gregale-backend-growing.so");
    assert_false(other->accepted);
    assert_non_null(strstr(other->reason, "already found at"));
    assert_non_null(strstr(other->reason, "/second/"));
    gr_registry_destroy(r);
}

static void test_a_directory_named_twice_counts_once(void **state) {
    (void)state;
    gr_registry *r = registry_of(PLUGINS("machine"), PLUGINS("machine") "/../machine");
    assert_int_equal(gr_registry_plugin_count(r), 4);
    gr_registry_destroy(r);
}

static void test_device_names_stay_unique(void **state) {
    (void)state;
    uint32_t a, b;
    gr_registry *r = registry_of(PLUGINS("machine"), PLUGINS("renamed"));
    for (uint32_t i = 0; i < gr_registry_device_count(r); i++)
        for (uint32_t k = 0; k < i; k++)
            assert_string_not_equal(gr_registry_device(r, i)->name, gr_registry_device(r, k)->name);
    assert_int_equal(gr_registry_find(r, "aaa.processor", &a, NULL), GR_OK);
    assert_int_equal(gr_registry_find(r, "processor", &b, NULL), GR_OK);
    assert_int_not_equal(a, b);
    gr_registry_destroy(r);
}

static void test_environment_and_order(void **state) {
    (void)state;
    char data[64], user[128];
    scratch_make(data);
    snprintf(user, sizeof user, "%s/gregale/backends", data);
    scratch_write(data, "gregale/backends/gregale-backend-junk.so", "junk");
    setenv("GREGALE_PLUGIN_PATH", "::not/absolute:" PLUGINS("second") "::/nowhere/at/all:", 1);
    setenv("XDG_DATA_HOME", data, 1);
    const char *directories[] = {PLUGINS("machine"), NULL};
    gr_registry_options options = {.directories = directories,
                                   .topology = {.xml_path = MACHINE("smt")}};
    gr_registry *r = registry_with(&options);
    gr_strbuf why = {0};
    gr_registry_why(r, false, &why, NULL);
    const char *places[] = {PLUGINS("machine"), "not/absolute: ignored", PLUGINS("second"),
                            "/nowhere/at/all: does not exist", user};
    const char *at = why.data;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        at = strstr(at, places[i]);
        if (!at)
            fail_msg("%s is missing or out of order in:\n%s", places[i], why.data);
    }
    assert_false(plugin_at(r, "gregale-backend-junk.so")->accepted);
    gr_registry_destroy(r);
    options.only_explicit = true;
    r = registry_with(&options);
    assert_int_equal(gr_registry_plugin_count(r), 4);
    gr_registry_destroy(r);
    gr_strbuf_deinit(&why);
    unsetenv("GREGALE_PLUGIN_PATH");
    unsetenv("XDG_DATA_HOME");
    scratch_remove(data);
}

static void test_plugins_are_told_what_is_asked(void **state) {
    (void)state;
    const char *directories[] = {PLUGINS("machine"), NULL};
    gr_registry_options options = {.directories = directories,
                                   .only_explicit = true,
                                   .topology = {.xml_path = MACHINE("smt")}};
    for (int asked = 0; asked < 2; asked++) {
        options.flags = asked ? GR_HOST_DETERMINISTIC : 0;
        gr_registry *r = registry_with(&options);
        assert_true(gr_registry_device_count(r) >= 3);
        for (uint32_t i = 0; i < gr_registry_device_count(r); i++)
            assert_int_equal(
                (gr_registry_device(r, i)->facts.flags & GR_DEVICE_BATCH_INVARIANT) != 0, asked);
        gr_registry_destroy(r);
    }
    // A host of before there were flags asks for nothing.
    const gr_host old = {.struct_size = offsetof(gr_host, flags), .flags = GR_HOST_DETERMINISTIC};
    assert_false(gr_host_asks(&old, GR_HOST_DETERMINISTIC));
}

static void test_working_directory_is_never_searched(void **state) {
    (void)state;
    char here[4096];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(PLUGINS("second")), 0);
    setenv("GREGALE_PLUGIN_PATH", ".:", 1);
    gr_registry_options options = {.topology = {.xml_path = MACHINE("smt")}};
    gr_registry *r = registry_with(&options);
    for (uint32_t i = 0; i < gr_registry_plugin_count(r); i++)
        assert_null(strstr(gr_registry_plugin(r, i)->path, "growing"));
    gr_registry_destroy(r);
    unsetenv("GREGALE_PLUGIN_PATH");
    assert_int_equal(chdir(here), 0);
}

static void test_find_says_what_there_is(void **state) {
    (void)state;
    uint32_t index = 9;
    gr_error error;
    gr_error_init(&error);
    gr_registry *r = registry_of(PLUGINS("machine"), NULL);
    assert_int_equal(gr_registry_find(r, "auto", &index, &error), GR_OK);
    assert_int_equal(index, 0);
    assert_int_equal(gr_registry_find(r, "cuda7", &index, &error), GR_ERROR_NOT_FOUND);
    assert_non_null(strstr(error.message, "cuda7"));
    assert_non_null(strstr(error.message, "processor"));
    gr_registry_destroy(r);
    r = registry_of("/nowhere", NULL);
    assert_int_equal(gr_registry_find(r, NULL, &index, &error), GR_ERROR_NOT_FOUND);
    assert_non_null(strstr(error.message, "no device is usable"));
    gr_registry_destroy(r);
}

static void test_open_is_shared_and_counted(void **state) {
    (void)state;
    const gr_opened_device *a, *b;
    uint32_t risky;
    gr_error error;
    gr_error_init(&error);
    gr_registry *r = registry_of(PLUGINS("hostile"), NULL);
    assert_int_equal(gr_registry_find(r, "risky_good.odd", &risky, &error), GR_OK);
    assert_int_equal(gr_registry_open(r, risky, &a, &error), GR_OK); // probed here only now
    assert_int_equal(gr_registry_open(r, risky, &b, &error), GR_OK);
    assert_ptr_equal(a, b);
    assert_non_null(a->device);
    gr_registry_close(r, a);
    assert_non_null(b->device);
    gr_registry_close(r, b);
    assert_int_equal(gr_registry_open(r, 1000, &a, &error), GR_ERROR_OUT_OF_RANGE);
    assert_null(a);
    gr_registry_destroy(r);
}

static const gr_device_entry *device_of(const gr_registry *r, const char *name,
                                        uint32_t *out_index) {
    assert_int_equal(gr_registry_find(r, name, out_index, NULL), GR_OK);
    return gr_registry_device(r, *out_index);
}

// Tables of other sizes, and tables and facts that change after they were looked at.
static void test_tables_are_taken_as_they_were(void **state) {
    (void)state;
    const gr_opened_device *opened;
    uint32_t index;
    gr_error error;
    gr_error_init(&error);
    gr_registry *r = registry_of(PLUGINS("hostile"), NULL);
    assert_null(device_of(r, "brief.odd", &index)->backend->get_extension);
    assert_string_equal(device_of(r, "short_facts.odd", &index)->facts.description, "");
    device_of(r, "newer.odd", &index);
    assert_int_equal(gr_registry_open(r, index, &opened, &error), GR_OK);
    gr_registry_close(r, opened);
    assert_string_equal(device_of(r, "changes.odd", &index)->backend->name, "changes");
    assert_int_equal(gr_registry_open(r, index, &opened, &error), GR_OK);
    gr_registry_close(r, opened);
    for (index = 0; strncmp(gr_registry_device(r, index)->name, "process", 7); index++)
        ;
    assert_int_equal(gr_registry_open(r, index, &opened, &error), GR_ERROR_NOT_FOUND);
    assert_non_null(strstr(error.message, "is gone since it was found"));
    gr_registry_destroy(r);
}

static void test_no_descriptors_or_children_are_left(void **state) {
    (void)state;
    int before = 0, after = 0;
    for (int pass = 0; pass < 2; pass++) {
        gr_registry_destroy(registry_of(PLUGINS("hostile"), NULL));
        DIR *open_files = opendir("/proc/self/fd");
        int *count = pass ? &after : &before;
        while (open_files && readdir(open_files))
            ++*count;
        if (open_files)
            closedir(open_files);
    }
    assert_int_equal(before, after);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); // not even a dead one
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_broken_plugin_has_its_reason),
        cmocka_unit_test(test_descriptions_cannot_drive_a_terminal),
        cmocka_unit_test(test_a_plugin_that_hangs_is_stopped),
        cmocka_unit_test(test_files_that_are_no_libraries),
        cmocka_unit_test(test_first_of_one_name_wins),
        cmocka_unit_test(test_a_directory_named_twice_counts_once),
        cmocka_unit_test(test_device_names_stay_unique),
        cmocka_unit_test(test_environment_and_order),
        cmocka_unit_test(test_plugins_are_told_what_is_asked),
        cmocka_unit_test(test_working_directory_is_never_searched),
        cmocka_unit_test(test_find_says_what_there_is),
        cmocka_unit_test(test_open_is_shared_and_counted),
        cmocka_unit_test(test_tables_are_taken_as_they_were),
        cmocka_unit_test(test_no_descriptors_or_children_are_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
