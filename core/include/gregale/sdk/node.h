// SPDX-License-Identifier: Apache-2.0
// node.h: walking a segment and reading its nodes.
// For backend authors. Needs only libc headers; C11 and C++17. Pure functions: any thread.
#ifndef GREGALE_SDK_NODE_H
#define GREGALE_SDK_NODE_H

#include "gregale/sdk/structs.h"

#ifdef __cplusplus
extern "C" {
#endif

// Whether a segment can be walked: every node and value lies within its stride.
static inline bool gr_segment_ok(const gr_segment *segment) {
    return segment && gr_struct_ok(segment, sizeof *segment, sizeof *segment, SIZE_MAX) &&
           (!segment->node_count ||
            (segment->nodes && segment->node_stride >= offsetof(gr_node, layer))) &&
           (!segment->value_count ||
            (segment->values && segment->value_stride >= sizeof(gr_value)));
}

// The next node to run at or after *index, which moves past it and its subtree. False at the end.
// So:
//     for (uint32_t i = 0, node; gr_segment_next_run(segment, &i, &node);) ...
static inline bool gr_segment_next_run(const gr_segment *segment, uint32_t *index,
                                       uint32_t *out_node) {
    while (*index < segment->node_count) {
        const gr_node *node = gr_segment_node(segment, *index);
        *out_node = *index;
        if (!(node->flags & GR_NODE_RUN)) {
            (*index)++;
            continue;
        }
        uint32_t left = segment->node_count - *index - 1;
        *index += 1 + (node->subtree < left ? node->subtree : left);
        return true;
    }
    return false;
}

#ifdef __cplusplus
}
#endif
#endif
