// SPDX-License-Identifier: Apache-2.0
// What restore refuses and why; and that saving replaces a file whole or not at all: interrupted, without room on
// the disk, killed.
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/os.h"
#include "snapshot_fixture.h"

static gr_session *save_some(gr_model *model, uint32_t count) {
    int32_t tokens[200];
    fill_tokens(tokens, count, 1, vocab_of(model));
    gr_session *session = begin(model, 250, tokens, count);
    logits_of(session);
    save(session);
    return session;
}

static gr_model *small_model(void) {
    return load_alone(SMALL("w16-gqa1"), (gr_model_options){.page_tokens = 8, .rewind_reserve = 8, .chunk = 32});
}

// ---- Another model

static void other_models_are_refused(void **state) {
    (void)state;
    gr_model *model = small_model();
    gr_session *session = save_some(model, 60);
    gr_model *other = load_alone(SMALL("w8-gqa4"), (gr_model_options){0});
    gr_model_info own = {.struct_size = sizeof own};
    char hex[33];
    gr_model_info_get(model, &own);
    for (int i = 0; i < 16; i++)
        snprintf(hex + 2 * i, 3, "%02x", own.fingerprint[i]);
    refuses(other, NULL, GR_ERROR_INCOMPATIBLE, "another model", hex);
    gr_model_release(other);
    other = load_alone(SMALL("w16-gqa1"), (gr_model_options){.has_sliding_window = 1, .sliding_window = 17});
    refuses(other, NULL, GR_ERROR_INCOMPATIBLE, "layer 0 was saved with a window of 16", "expected 17");
    gr_model_release(other);
    other = load_alone(SMALL("w16-gqa1"), (gr_model_options){.has_sliding_window = 1});
    refuses(other, NULL, GR_ERROR_INCOMPATIBLE, "window of 16", "expected 0");
    gr_model_release(other);
    gr_session_release(session);
    gr_model_release(model);
    forget_file();
}

// The same file, read otherwise: what another build, preset or option would make of it.
static void other_readings_of_a_model_are_refused(void **state) {
    (void)state;
    gr_model *model = small_model();
    gr_session *session = save_some(model, 60);
    gr_hparams *hparams = &model->source->hparams;
    gr_rope kept = hparams->rope;
    hparams->rope.base *= 2;
    refuses(model, NULL, GR_ERROR_INCOMPATIBLE, "RoPE base 10000;", "expected 20000");
    hparams->rope = kept;
    hparams->rope.pairing = !kept.pairing;
    refuses(model, NULL, GR_ERROR_INCOMPATIBLE, "RoPE pairing", "expected");
    hparams->rope = kept;
    hparams->rope.attention_factor = 0.5;
    refuses(model, NULL, GR_ERROR_INCOMPATIBLE, "RoPE attention factor", "expected 0.5");
    hparams->rope = kept;
    const float factors[64] = {1, 2};
    hparams->rope.factors = factors;
    refuses(model, NULL, GR_ERROR_INCOMPATIBLE, "RoPE factors", "");
    hparams->rope = kept;
    hparams->vocab--;
    refuses(model, NULL, GR_ERROR_INCOMPATIBLE, "a vocabulary of", "expected");
    hparams->vocab++;
    model->tokenizer->fingerprint[15] ^= 1;
    refuses(model, NULL, GR_ERROR_INCOMPATIBLE, "another tokenizer", "fingerprint");
    model->tokenizer->fingerprint[15] ^= 1;
    gr_session_release(restore(model, NULL)); // as it was again
    gr_session_release(session);
    gr_model_release(model);
    forget_file();
}

static void other_chat_formats_are_refused(void **state) {
    (void)state;
    gr_model *model = load_alone(BREEZE, (gr_model_options){.chat_format = "mistral-v1"});
    gr_model *other = load_alone(BREEZE, (gr_model_options){.chat_format = "chatml"});
    gr_model *base = load_alone(BREEZE, (gr_model_options){0});
    gr_session *session = begin(model, 100, NULL, 0);
    save(session);
    gr_session_release(restore(base, NULL)); // no turns: nothing to read otherwise
    OK(gr_session_turn(session, GR_CHAT_USER, "Who?", 4, error));
    save(session);
    refuses(other, NULL, GR_ERROR_INCOMPATIBLE, "'mistral-v1'", "expected 'chatml'");
    refuses(base, NULL, GR_ERROR_INCOMPATIBLE, "'mistral-v1'", "expected ''");
    gr_session_release(session);
    gr_model_release(base);
    gr_model_release(other);
    gr_model_release(model);
    forget_file();
}

// ---- Too little room

static void limits_are_kept(void **state) {
    (void)state;
    gr_model *model = small_model();
    gr_session *session = save_some(model, 60);
    const gr_session_options tight = {.struct_size = sizeof tight, .context = 59},
                             roomy = {.struct_size = sizeof roomy, .context = 5000};
    refuses(model, &tight, GR_ERROR_OUT_OF_RANGE, "60 tokens", "context of 59");
    gr_session *restored = NULL;
    OK(gr_session_restore(model, file_name(), &roomy, NULL, NULL, &restored, NULL, error));
    assert_int_equal(restored->context, 5000);
    gr_session_release(restored);
    gr_model *poor = load_alone(SMALL("w16-gqa1"), (gr_model_options){.page_tokens = 8, .cache_bytes = 4000});
    gr_error_init(error);
    assert_int_equal(gr_session_restore(poor, file_name(), NULL, NULL, NULL, &restored, NULL, error),
                     GR_ERROR_OUT_OF_MEMORY);
    assert_null(restored);
    assert_int_equal(gr_kv_cache_bytes_used(poor->site->cache), 0);
    gr_model_release(poor);
    gr_session_release(session);
    gr_model_release(model);
    forget_file();
}

// ---- Progress and interruption

typedef struct watcher {
    double last, stop_at;
    uint32_t calls;
    const char *what;
} watcher;

static bool watch(void *context, double fraction, const char *what) {
    watcher *w = context;
    assert_true(fraction >= w->last && fraction <= 1);
    assert_string_equal(what, w->what);
    w->last = fraction;
    w->calls++;
    return fraction < w->stop_at;
}

// Files beside the snapshot whose name begins as its name does.
static uint32_t leftovers(void) {
    char command[300], count[16] = "";
    snprintf(command, sizeof command, "ls %s.* 2>/dev/null | wc -l", file_name());
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_non_null(fgets(count, sizeof count, pipe));
    pclose(pipe);
    return (uint32_t)atoi(count);
}

static void whoever_waits_is_told_and_may_stop(void **state) {
    (void)state;
    gr_model *model = small_model();
    gr_session *session = save_some(model, 60), *restored = NULL;
    gr_strbuf before = {0}, after = {0};
    OK(gr_file_read(file_name(), 1 << 24, &before, error));
    uint64_t used = gr_kv_cache_bytes_used(model->site->cache);
    watcher all = {.stop_at = 2, .what = "restoring"};
    OK(gr_session_restore(model, file_name(), NULL, watch, &all, &restored, NULL, error));
    assert_true(all.last > 0.9 && all.calls > 3);
    gr_session_release(restored);
    for (double at = 0; at < 0.9; at += 0.07) { // while it is checked, and while it is read
        watcher w = {.stop_at = at, .what = "restoring"};
        assert_int_equal(gr_session_restore(model, file_name(), NULL, watch, &w, &restored, NULL, error),
                         GR_ERROR_CANCELLED);
        assert_null(restored);
        assert_int_equal(gr_kv_cache_bytes_used(model->site->cache), used);
    }
    OK(gr_session_append_tokens(session, (int32_t[]){5, 6, 7}, 3, error));
    for (double at = 0; at < 0.9; at += 0.07) {
        watcher w = {.stop_at = at, .what = "saving"};
        assert_int_equal(gr_session_save(session, file_name(), watch, &w, error), GR_ERROR_CANCELLED);
        OK(gr_file_read(file_name(), 1 << 24, &after, error));
        assert_int_equal(after.size, before.size);
        assert_memory_equal(after.data, before.data, before.size);
        assert_int_equal(leftovers(), 0);
        gr_strbuf_clear(&after);
    }
    watcher w = {.stop_at = 2, .what = "saving"};
    OK(gr_session_save(session, file_name(), watch, &w, error));
    assert_true(w.last == 1 && w.calls > 3);
    gr_strbuf_deinit(&before);
    gr_strbuf_deinit(&after);
    gr_session_release(session);
    gr_model_release(model);
    forget_file();
}

// ---- The disk is full

static void a_full_disk_leaves_the_old_file(void **state) {
    (void)state;
    gr_model *model = small_model();
    gr_session *session = save_some(model, 20);
    struct rlimit kept, small = {2000, RLIM_INFINITY};
    gr_strbuf before = {0}, after = {0};
    OK(gr_file_read(file_name(), 1 << 24, &before, error));
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN); // then writing fails, as on a disk without room
    getrlimit(RLIMIT_FSIZE, &kept);
    small.rlim_max = kept.rlim_max;
    for (rlim_t size = 0; size < before.size; size += before.size / 40 + 1) {
        small.rlim_cur = size;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        gr_error_init(error);
        gr_status status = gr_session_save(session, file_name(), NULL, NULL, error);
        setrlimit(RLIMIT_FSIZE, &kept);
        assert_int_equal(status, GR_ERROR_IO);
        assert_non_null(strstr(error->message, file_name()));
        assert_int_equal(leftovers(), 0);
    }
    signal(SIGXFSZ, handler);
    OK(gr_file_read(file_name(), 1 << 24, &after, error));
    assert_int_equal(after.size, before.size);
    assert_memory_equal(after.data, before.data, before.size);
    gr_error_init(error);
    assert_int_equal(gr_session_save(session, "/nonexistent/folder/x", NULL, NULL, error), GR_ERROR_NOT_FOUND);
    assert_int_equal(gr_session_save(session, "/dev/full", NULL, NULL, error), GR_ERROR_IO); // and stays a device
    gr_strbuf_deinit(&before);
    gr_strbuf_deinit(&after);
    gr_session_release(session);
    gr_model_release(model);
    forget_file();
}

// ---- The process is killed

static bool kill_at(void *context, double fraction, const char *what) {
    (void)what;
    if (fraction > *(double *)context)
        raise(SIGKILL);
    return true;
}

// In a process of its own: saves another, longer session over the file and is killed on the way.
static void save_and_die(double fraction) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        gr_model *model = small_model();
        int32_t tokens[100];
        fill_tokens(tokens, 100, 2, vocab_of(model));
        gr_session *session = begin(model, 250, tokens, 100);
        logits_of(session);
        gr_session_save(session, file_name(), kill_at, &fraction, error);
        _exit(0); // not killed: the parent sees it
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
}

static void a_killed_save_leaves_the_old_file(void **state) {
    (void)state;
    char command[300];
    gr_model *model = small_model();
    gr_session *session = save_some(model, 60);
    gr_strbuf before = {0}, after = {0};
    OK(gr_file_read(file_name(), 1 << 24, &before, error));
    gr_session_release(session);
    gr_model_release(model); // no thread is alive when the process is copied
    for (double at = 0.01; at < 1; at += 0.24) {
        save_and_die(at);
        OK(gr_file_read(file_name(), 1 << 24, &after, error));
        assert_int_equal(after.size, before.size);
        assert_memory_equal(after.data, before.data, before.size);
        gr_strbuf_clear(&after);
    }
    assert_true(leftovers() > 0); // what the killed ones had begun
    snprintf(command, sizeof command, "rm %s.*", file_name());
    assert_int_equal(system(command), 0);
    gr_strbuf_deinit(&before);
    gr_strbuf_deinit(&after);
    forget_file();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_save_leaves_the_old_file),
        cmocka_unit_test(other_models_are_refused),
        cmocka_unit_test(other_readings_of_a_model_are_refused),
        cmocka_unit_test(other_chat_formats_are_refused),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(whoever_waits_is_told_and_may_stop),
        cmocka_unit_test(a_full_disk_leaves_the_old_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
