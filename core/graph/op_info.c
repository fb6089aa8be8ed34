// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include "graph/graph.h"

#define PRIMITIVE false
#define COMPOSITE true

static const gr_op_info table[] = {
#define GR_OP(number, name, level, min_in, max_in, min_out, max_out, attrs, backward) \
    {number, #name, level, min_in, max_in, min_out, max_out, sizeof(attrs)},
#include "gregale/ops.def"
#undef GR_OP
};

const gr_op_info *gr_op_info_find(gr_op op) {
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].op == op)
            return &table[i];
    return NULL;
}
