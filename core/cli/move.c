// SPDX-License-Identifier: Apache-2.0
// move.c: what the commands say of a move.
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
