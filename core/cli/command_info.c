// SPDX-License-Identifier: Apache-2.0
// command_info.c: gregale info: what a model file holds and what running it takes.
#include <string.h>

#include "cli/cli.h"
#include "gregale/linked/chat.h"
#include "model/model.h"

typedef struct facts {
    uint64_t count[GR_DTYPE_LIMIT], bytes[GR_DTYPE_LIMIT], weight_bytes, parameters;
    uint64_t cache, full_cache;
    gr_dtype cache_type;
    uint32_t context;
    char window[96];
    char *devices; // "cpu:20,far:12", when a device was asked for; owned
} facts;

static void describe_window(const gr_hparams *h, facts *f) {
    uint32_t windowed = 0, window = 0;
    bool equal = true;
    for (uint32_t i = 0; i < h->layers; i++) {
        equal = equal && h->window[i] == h->window[0];
        windowed += h->window[i] != 0;
        window = h->window[i] > window ? h->window[i] : window;
    }
    if (!windowed)
        snprintf(f->window, sizeof f->window, "none");
    else if (equal)
        snprintf(f->window, sizeof f->window, "%u on every layer", window);
    else
        snprintf(f->window, sizeof f->window, "up to %u on %u of %u layers", window, windowed, h->layers);
}

static void gather(const gr_model_source *source, const gr_cli_options *options, facts *f) {
    for (uint32_t i = 0; i < gr_model_file_tensor_count(source->file); i++) {
        const gr_tensor_info *tensor = gr_model_file_tensor_at(source->file, i);
        f->count[tensor->dtype]++;
        f->bytes[tensor->dtype] += tensor->bytes;
        f->weight_bytes += tensor->bytes;
        f->parameters += tensor->bytes / gr_dtype_block_bytes(tensor->dtype) * gr_dtype_block(tensor->dtype);
    }
    uint32_t trained = source->hparams.context_train;
    f->cache_type = options->cache_type;
    f->context = options->context ? options->context : trained && trained < GR_DEFAULT_CONTEXT ? trained : GR_DEFAULT_CONTEXT;
    gr_model_cache_bytes(&source->hparams, f->context, f->cache_type, 64, 64, &f->cache, &f->full_cache);
    describe_window(&source->hparams, f);
}

// Calls `print` for each device with layers: their first and last.
static void each_device(const facts *f, uint32_t layers, void (*print)(void *, const char *, uint32_t, uint32_t), void *context) {
    uint32_t first = 0;
    for (const char *at = f->devices; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        char name[128];
        unsigned count = layers;
        if (sscanf(at, "%127[^:,]:%u", name, &count) < 1)
            return;
        print(context, name, first, first + count - 1);
        first += count;
    }
}

static void print_layers(void *context, const char *device, uint32_t first, uint32_t last) {
    (void)context;
    printf("layers        %u to %u on %s\n", first, last, device);
}

static void add_layers(void *context, const char *device, uint32_t first, uint32_t last) {
    gr_strbuf_format(context, "%s{\"device\":\"%s\",\"first\":%u,\"last\":%u}", first ? "," : "", device, first, last);
}

static void print_people(const gr_model_source *s, const gr_tokenizer *tokenizer, const gr_chat_format *chat, const facts *f) {
    const gr_hparams *h = &s->hparams;
    printf("file          %s (%s, %.1f MiB)\n", gr_model_file_path(s->file), gr_model_file_format(s->file),
           (double)gr_model_file_bytes(s->file) / 1048576.0);
    printf("name          %s\n", h->name[0] ? h->name : "(none)");
    printf("architecture  %s: %u layers, dim %u, ffn %u, heads %u:%u of %u, vocabulary %u%s\n", h->architecture, h->layers,
           h->dim, h->ffn_dim, h->heads, h->kv_heads, h->head_dim, h->vocab, h->tied_embeddings ? ", tied" : "");
    each_device(f, h->layers, print_layers, NULL);
    printf("parameters    %.1f million\n", (double)f->parameters / 1e6);
    printf("window        %s\n", f->window);
    printf("context       %u in training; rope base %g\n", h->context_train, h->rope.base);
    printf("tokenizer     %s, %u tokens\n", tokenizer->type->name, tokenizer->vocab.size);
    printf("chat format   %s\n", chat ? chat->name : "none");
    for (uint32_t t = 0; t < GR_DTYPE_LIMIT; t++)
        if (f->count[t])
            printf("tensors       %4llu %-6s %10.1f MiB\n", (unsigned long long)f->count[t], gr_dtype_name(t),
                   (double)f->bytes[t] / 1048576.0);
    printf("memory        weights %.1f MiB, cache of %s %.1f MiB for %u positions (%.1f MiB without windows)\n",
           (double)f->weight_bytes / 1048576.0, gr_dtype_name(f->cache_type), (double)f->cache / 1048576.0, f->context,
           (double)f->full_cache / 1048576.0);
}

static void print_json(const gr_model_source *s, const gr_tokenizer *tokenizer, const gr_chat_format *chat, const facts *f) {
    const gr_hparams *h = &s->hparams;
    gr_strbuf out = {0};
    gr_strbuf_text(&out, "{\"file\":");
    gr_strbuf_json(&out, (gr_str){gr_model_file_path(s->file), strlen(gr_model_file_path(s->file))});
    gr_strbuf_format(&out, ",\"format\":\"%s\",\"name\":", gr_model_file_format(s->file));
    gr_strbuf_json(&out, (gr_str){h->name, strlen(h->name)});
    gr_strbuf_text(&out, ",\"architecture\":");
    gr_strbuf_json(&out, (gr_str){h->architecture, strlen(h->architecture)});
    gr_strbuf_format(&out, ",\"layers\":%u,\"dim\":%u,\"ffn_dim\":%u,\"heads\":%u,\"kv_heads\":%u,\"head_dim\":%u,\"vocab\":%u,\"parameters\":%llu",
                     h->layers, h->dim, h->ffn_dim, h->heads, h->kv_heads, h->head_dim, h->vocab,
                     (unsigned long long)f->parameters);
    if (f->devices) {
        gr_strbuf_text(&out, ",\"devices\":[");
        each_device(f, h->layers, add_layers, &out);
        gr_strbuf_text(&out, "]");
    }
    gr_strbuf_text(&out, ",\"windows\":[");
    for (uint32_t i = 0; i < h->layers; i++)
        gr_strbuf_format(&out, "%s%u", i ? "," : "", h->window[i]);
    gr_strbuf_format(&out, "],\"context_train\":%u,\"tokenizer\":\"%s\",\"chat_format\":\"%s\",\"tensors\":{", h->context_train,
                     tokenizer->type->name, chat ? chat->name : "");
    for (uint32_t t = 0, first = 1; t < GR_DTYPE_LIMIT; t++)
        if (f->count[t]) {
            gr_strbuf_format(&out, "%s\"%s\":{\"count\":%llu,\"bytes\":%llu}", first ? "" : ",", gr_dtype_name(t),
                             (unsigned long long)f->count[t], (unsigned long long)f->bytes[t]);
            first = 0;
        }
    gr_strbuf_format(&out, "},\"weight_bytes\":%llu,\"context\":%u,\"cache_type\":\"%s\",\"cache_bytes\":%llu,\"full_cache_bytes\":%llu}",
                     (unsigned long long)f->weight_bytes, f->context, gr_dtype_name(f->cache_type), (unsigned long long)f->cache,
                     (unsigned long long)f->full_cache);
    puts(gr_strbuf_cstr(&out));
    gr_strbuf_deinit(&out);
}

// Only for whoever asks for a device: others need none to read a file.
static int place(const gr_cli_options *options, facts *f) {
    const gr_model_options wanted = {.struct_size = sizeof wanted,
                                     .device = options->device,
                                     .kv_dtype = options->cache_type,
                                     .has_kv_dtype = 1,
                                     .sliding_window = options->sliding_window,
                                     .has_sliding_window = options->has_sliding_window};
    gr_cli cli = {0};
    int code = options->device ? gr_cli_open_engine(&cli, options) : GR_EXIT_OK;
    if (!code && cli.engine && gr_model_place(cli.engine, options->positional[0], &wanted, &f->devices, &cli.error) != GR_OK)
        code = gr_report(&cli.error);
    return gr_cli_close(&cli, options, code);
}

static int run(int argc, char **argv) {
    gr_cli_options options = {.wanted = GR_OPTIONS_MODEL, .positional_limit = 1};
    int code = GR_EXIT_OK;
    gr_model_source *source = NULL;
    gr_tokenizer *tokenizer = NULL;
    gr_error error;
    facts f = {0};
    gr_error_init(&error);
    gr_options_parse(argc, argv, &options, "MODEL", "Say what a model file holds and what running it takes.", NULL, NULL, NULL);
    if (!options.positional_count)
        return gr_complain(GR_EXIT_USAGE, "info: expected a model file; see gregale info --help");
    const gr_model_overrides overrides = {.sliding_window =
                                              options.has_sliding_window ? options.sliding_window : GR_WINDOW_FROM_FILE};
    gr_status status = gr_model_source_open(options.positional[0], &overrides, &source, &error);
    if (status == GR_OK)
        status = gr_tokenizer_create(source->file, &tokenizer, &error);
    if (status == GR_OK)
        code = place(&options, &f);
    if (status == GR_OK && !code) {
        const gr_chat_format *chat = gr_chat_format_detect(source->file, tokenizer);
        gather(source, &options, &f);
        (options.json ? print_json : print_people)(source, tokenizer, chat, &f);
        if (source->notice[0] && !options.quiet)
            fprintf(stderr, "gregale: %s\n", source->notice);
    }
    gr_tokenizer_destroy(tokenizer);
    gr_model_source_close(source);
    gr_text_free(f.devices);
    return status == GR_OK ? code : gr_report(&error);
}

const gr_command gr_command_info = {"info", "say what a model file holds", run};
