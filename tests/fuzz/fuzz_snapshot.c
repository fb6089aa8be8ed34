// SPDX-License-Identifier: Apache-2.0
// fuzz_snapshot.c: any bytes as a snapshot, as they are and with size and checksum made right. What is refused says
// why; what is restored can be used, saved again and restored from that.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/site.h"
#include "tests/support/snapshot_seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MODEL GREGALE_SOURCE_DIR "/tests/golden/models/w8-gqa4.gguf"
static const char *const directories[] = {GREGALE_BINARY_DIR "/backends", NULL};
static char again[64]; // where a restored session is saved

static void stop(const char *what, const gr_error *error) {
    fprintf(stderr, "fuzz_snapshot: %s: %s\n", what, error->message);
    abort();
}

static gr_model *open_model(void) {
    const gr_engine_options engine_options = {
        .struct_size = sizeof engine_options, .threads = 1, .plugin_directories = directories};
    const gr_model_options options = {
        .struct_size = sizeof options, .device = "ref", .page_tokens = 8, .chat_format = "mistral-v1"};
    gr_engine *engine = NULL;
    gr_model *model = NULL;
    gr_error error;
    gr_error_init(&error);
    if (gr_engine_create(&engine_options, &engine, &error) != GR_OK ||
        gr_model_load(engine, MODEL, &options, &model, &error) != GR_OK)
        stop("no model", &error);
    snprintf(again, sizeof again, "%s/fuzz-snapshot-%d", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (int)getpid());
    return model;
}

static gr_status restore(gr_model *model, const char *path, gr_session **out_session, gr_request **out_request,
                         gr_error *error) {
    const gr_session_options options = {.struct_size = sizeof options, .context = 64};
    gr_error_init(error);
    gr_status status = gr_session_restore(model, path, &options, NULL, NULL, out_session, out_request, error);
    if (status != GR_OK && (!error->message[0] || *out_session || *out_request))
        stop("refused without a reason, or not whole", error);
    return status;
}

static void check_again(gr_model *model, gr_session *session) {
    gr_session *copy = NULL;
    gr_request *request = NULL;
    gr_error error;
    size_t count, other;
    gr_error_init(&error);
    if (gr_session_save(session, again, NULL, NULL, &error) != GR_OK)
        stop("what was restored cannot be saved", &error);
    if (restore(model, again, &copy, &request, &error) != GR_OK)
        stop("what was saved cannot be restored", &error);
    const int32_t *a = gr_session_tokens(session, &count), *b = gr_session_tokens(copy, &other);
    if (count != other || (count && memcmp(a, b, count * sizeof *a) != 0) || !request != !session->request ||
        gr_session_turn_count(copy) != gr_session_turn_count(session))
        stop("another session came of it", &error);
    gr_request_release(request);
    gr_session_release(copy);
    unlink(again);
}

static void try(gr_model *model, const uint8_t *data, size_t size) {
    char path[64];
    gr_session *session = NULL;
    gr_request *request = NULL;
    gr_error error;
    bool worked;
    int file = memfd_create("snapshot", MFD_CLOEXEC);
    if (file < 0 || write(file, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    if (restore(model, path, &session, &request, &error) == GR_OK) {
        check_again(model, session);
        for (int i = 0; i < 3; i++)
            gr_engine_step(model->engine, &worked, NULL);
    }
    gr_request_release(request);
    gr_session_release(session);
    close(file);
    if (model->session_count || gr_kv_cache_bytes_used(model->site->cache))
        stop("something is left over", &error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static gr_model *model; // loading it for every input would leave no time for inputs
    if (!model)
        model = open_model();
    try(model, data, size);
    if (size < GR_SNAPSHOT_HEAD + GR_SNAPSHOT_DIGEST)
        return 0;
    uint8_t *sealed = malloc(size);
    if (!sealed)
        return 0;
    memcpy(sealed, data, size);
    snapshot_seal(sealed, size);
    try(model, sealed, size);
    free(sealed);
    return 0;
}
