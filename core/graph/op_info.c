// SPDX-License-Identifier: Apache-2.0
// op_info.c: ops.def as a table.
#include "graph/graph.h"

enum { PRIMITIVE = 0, COMPOSITE = 1 };

const gr_op_info *gr_op_info_find(gr_op op) {
    static const gr_op_info table[] = {
#define GR_OP(number, name, level, min_in, max_in, min_out, max_out, attrs, backward) \
    {number, #name, level == COMPOSITE, min_in, max_in, min_out, max_out, (uint32_t)sizeof(attrs)},
#include "gregale/ops.def"
#undef GR_OP
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].op == op)
            return &table[i];
    return NULL;
}
