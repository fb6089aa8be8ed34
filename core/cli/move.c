// SPDX-License-Identifier: Apache-2.0
// move.c: moves and shadows that commands are asked for, and what they say of them.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

bool gr_move_progress(void *context, const gr_move_info *info) {
    return info->stage != GR_MOVE_PREPARE || gr_progress(context, info->progress, "move");
}

void gr_print_move(FILE *stream, const gr_move_info *info) {
    fprintf(stream, "moved from %s to %s: %llu pages (%.1f MiB), pause %.2f ms", info->from, info->to,
            (unsigned long long)info->pages, (double)info->bytes / 1048576.0, info->pause_seconds * 1e3);
    if (info->compared)
        fprintf(stream, ", logits within %.2g of %.2g", info->difference, info->bound);
    fputc('\n', stream);
}

// ---- --move-at N:DEVICE, --shadow N:DEVICE, --shadow-policy

enum { KEY_MOVE_AT = 0x500, KEY_SHADOW, KEY_POLICY };

const struct argp_option gr_cli_move_options[] = {
    {"move-at", KEY_MOVE_AT, "N:DEVICE", 0, "Move to DEVICE when N tokens of the answer exist; the answer goes on", 0},
    {"shadow", KEY_SHADOW, "N:DEVICE", 0, "Evaluate the first N tokens of the answer on DEVICE too, and compare", 0},
    {"shadow-policy", KEY_POLICY, "POLICY", 0, "Then move there: if-equal (default; fails at the first difference), anyway, never", 0},
    {0}};

static void take_place(gr_cli_move *m, char *value, const char *option, uint32_t *out_count) {
    char *colon = strchr(value, ':');
    if (!colon || !colon[1])
        exit(gr_complain(GR_EXIT_USAGE, "%s: expected N:DEVICE, found '%s'", option, value));
    if (m->device)
        exit(gr_complain(GR_EXIT_USAGE, "%s: one --move-at or --shadow at a time", option));
    *colon = '\0';
    *out_count = (uint32_t)gr_parse_u64(value, 1u << 30, option);
    m->device = colon + 1;
}

static gr_move_policy policy_called(const char *name) {
    static const char *const names[] = {"if-equal", "anyway", "never"};
    for (gr_move_policy i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    exit(gr_complain(GR_EXIT_USAGE, "--shadow-policy: expected if-equal, anyway or never, found '%s'", name));
}

error_t gr_cli_move_parse(int key, char *value, void *context) {
    gr_cli_move *m = context;
    switch (key) {
    case KEY_MOVE_AT: take_place(m, value, "--move-at", &m->after); return 0;
    case KEY_SHADOW:
        take_place(m, value, "--shadow", &m->shadow);
        if (!m->shadow)
            exit(gr_complain(GR_EXIT_USAGE, "--shadow: expected at least one token"));
        return 0;
    case KEY_POLICY: m->policy = policy_called(value), m->has_policy = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void start(gr_cli_move *m) {
    const gr_move_options options = {.struct_size = sizeof options, .shadow_tokens = m->shadow, .policy = m->policy};
    m->started = true;
    if (gr_session_move_start(m->session, m->device, &options, &m->move, &m->error) != GR_OK)
        m->code = gr_report(&m->error); // the answer goes on where it is
}

void gr_cli_move_begin(gr_cli_move *m, gr_cli *cli) {
    gr_move_info info = {.struct_size = sizeof info};
    size_t prompt;
    bool worked;
    m->session = cli->session;
    gr_session_tokens(cli->session, &prompt);
    m->prompt_tokens = prompt;
    gr_error_init(&m->error);
    if (m->device && m->shadow) // the other device is ready before the first token
        start(m);
    while (m->move && m->shadow && !gr_interrupted() && gr_move_info_get(m->move, &info, NULL) == GR_OK &&
           info.stage != GR_MOVE_SHADOW)
        gr_engine_step(cli->engine, &worked, NULL);
}

void gr_cli_move_advance(gr_cli_move *m) {
    size_t tokens;
    gr_session_tokens(m->session, &tokens);
    if (m->device && !m->started && tokens - m->prompt_tokens >= m->after)
        start(m);
}

// ---- What is said in the end

static void print_number(const char *name, double value) {
    if (isfinite(value))
        printf(",\"%s\":%.6g", name, value);
    else
        printf(",\"%s\":null", name);
}

static void print_json(const gr_cli_move *m, const gr_move_info *info) {
    printf("{\"type\":\"%s\",\"from\":\"%s\",\"to\":\"%s\",\"moved\":%s,\"pages\":%llu,\"bytes\":%llu,\"steps\":%llu",
           m->shadow ? "shadow" : "move", info->from, info->to,
           info->stage == GR_MOVE_DONE && m->policy != GR_MOVE_NEVER ? "true" : "false", (unsigned long long)info->pages,
           (unsigned long long)info->bytes, (unsigned long long)info->steps);
    print_number("prepare_seconds", info->prepare_seconds);
    print_number("copy_seconds", info->copy_seconds);
    print_number("check_seconds", info->check_seconds);
    print_number("pause_seconds", info->pause_seconds);
    printf(",\"compared\":%llu,\"agreed\":%llu", (unsigned long long)info->compared, (unsigned long long)info->agreed);
    print_number("difference", info->difference);
    print_number("bound", info->bound);
    if (info->first_divergence)
        printf(",\"first_divergence\":%llu", (unsigned long long)info->first_divergence);
    printf("}\n");
}

static void print_shadow(const gr_cli_move *m, const gr_move_info *info) {
    fprintf(stderr, "%s beside %s: %llu of %u tokens compared, %llu agree, logits within %.2g of %.2g", info->to, info->from,
            (unsigned long long)info->compared, m->shadow, (unsigned long long)info->agreed, info->difference, info->bound);
    if (info->first_divergence)
        fprintf(stderr, ", the first divergence behind token %llu", (unsigned long long)info->first_divergence);
    fprintf(stderr, "; %s\n", info->stage != GR_MOVE_DONE || m->policy == GR_MOVE_NEVER ? "not moved" : "moved");
}

// An answer may end before its move does: the move is finished then, so that what it says is whole. A shadow
// ends with the answer.
static gr_status finish(gr_cli_move *m, gr_cli *cli, gr_move_info *out_info) {
    bool worked = true;
    gr_status status;
    while ((status = gr_move_info_get(m->move, out_info, &cli->error)) == GR_OK && out_info->stage != GR_MOVE_DONE && worked) {
        gr_engine_step(cli->engine, &worked, NULL);
        if (gr_interrupted())
            gr_move_cancel(m->move);
    }
    return status;
}

int gr_cli_move_end(gr_cli_move *m, gr_cli *cli, const gr_cli_options *options, int code) {
    gr_move_info info = {.struct_size = sizeof info};
    if (!m->move) {
        if (!code && m->device && !m->started && !options->quiet)
            fprintf(stderr, "gregale: not moved: the answer ended before token %u\n", m->after);
        return code ? code : m->code;
    }
    gr_status status = code ? GR_OK : finish(m, cli, &info);
    gr_move_release(m->move);
    m->move = NULL;
    if (code) // that has been said; the move ends with the answer
        return code;
    if (options->json)
        print_json(m, &info);
    else if (status == GR_OK && !options->quiet && m->shadow)
        print_shadow(m, &info);
    else if (status == GR_OK && !options->quiet)
        gr_print_move(stderr, &info);
    return status == GR_OK ? GR_EXIT_OK : gr_report(&cli->error);
}
