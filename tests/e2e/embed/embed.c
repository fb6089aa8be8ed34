// SPDX-License-Identifier: Apache-2.0
// embed.c: a program that embeds the engine through its public header alone: load, append, fork, generate.
#include <gregale/engine.h>

#include <stdio.h>
#include <string.h>

static int fail(const gr_error *error) {
    fprintf(stderr, "embed: %s\n", error->message);
    return 1;
}

static gr_status answer(gr_session *session, char *out_text, size_t capacity, gr_error *error) {
    gr_request *request = NULL;
    gr_generate_options options = {.struct_size = sizeof options, .max_tokens = 12, .sampler = "greedy", .seed = 7};
    gr_status status = gr_session_generate(session, &options, NULL, NULL, &request, error);
    gr_request_info info = {.struct_size = sizeof info};
    if (status == GR_OK) {
        gr_request_info_get(request, &info);
        snprintf(out_text, capacity, "%s", info.text);
    }
    gr_request_release(request);
    return status;
}

int main(int argc, char **argv) {
    static const char prompt[] = "In the beginning God created";
    char first[512], second[512];
    gr_error error;
    gr_engine *engine = NULL;
    gr_model *model = NULL;
    gr_session *session = NULL, *fork = NULL;
    gr_error_init(&error);
    if (argc < 2 || gr_engine_create(NULL, &engine, &error) != GR_OK || gr_model_load(engine, argv[1], NULL, &model, &error) != GR_OK ||
        gr_session_create(model, NULL, &session, &error) != GR_OK ||
        gr_session_append_text(session, prompt, strlen(prompt), &error) != GR_OK ||
        gr_session_fork(session, &fork, &error) != GR_OK || answer(session, first, sizeof first, &error) != GR_OK ||
        answer(fork, second, sizeof second, &error) != GR_OK)
        return fail(&error);
    gr_engine_release(engine); // any order will do
    gr_model_release(model);
    gr_session_release(session);
    gr_session_release(fork);
    printf("%s\n", first);
    return first[0] && strcmp(first, second) == 0 ? 0 : 1; // a greedy fork says the same
}
