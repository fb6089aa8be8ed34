// SPDX-License-Identifier: Apache-2.0
// choice.c: an answer that is one of several texts.
#include <jansson.h>

#include "plugins/grammar/common/build.h"

static gr_status build(gr_grammar_builder *builder, gr_str text, gr_error *error) {
    json_error_t at;
    json_t *list = json_loadb(text.data ? text.data : "", text.size, JSON_ALLOW_NUL, &at), *one;
    uint32_t root = gr_rule_add(builder, (gr_str){"answer", 6}, false);
    gr_expr expr = GR_EXPR_NONE;
    gr_status status = GR_OK;
    size_t i;
    if (!list)
        return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_GRAMMAR_ORIGIN,
                       "choice, line %d, column %d: %s", at.line, at.column, at.text);
    json_array_foreach(list, i, one) {
        if (!json_is_string(one) && status == GR_OK)
            status = gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_GRAMMAR_ORIGIN,
                             "choice: entry %zu is no text", i + 1);
        expr = gr_expr_alt(builder, expr,
                           gr_expr_text(builder, (gr_str){json_string_value(one), json_string_length(one)}));
    }
    if (!json_array_size(list))
        status = gr_fail(error, GR_ERROR_INVALID_ARGUMENT, GR_GRAMMAR_ORIGIN,
                         "choice: expected a list of texts");
    gr_rule_define(builder, root, expr);
    json_decref(list);
    return status != GR_OK ? status : gr_rules_status(builder);
}

const gr_grammar_type gr_grammar_choice = {
    .struct_size = sizeof gr_grammar_choice,
    .name = "choice",
    .help = "one of several texts, a JSON array of them",
    .build = build,
};
