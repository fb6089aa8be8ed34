// SPDX-License-Identifier: Apache-2.0
// regex.c: an answer that is a match of a regular expression, as a whole.
#include "plugins/grammar/common/build.h"

static gr_status build(gr_grammar_builder *builder, gr_str text, gr_error *error) {
    static const gr_regex_options options = {.spelling = GR_SPELL_UTF8};
    gr_expr expr;
    uint32_t root = gr_rule_add(builder, (gr_str){"answer", 6}, false);
    gr_status status = gr_regex_build(builder, text, &options, &expr, error);
    gr_rule_define(builder, root, expr);
    return status;
}

const gr_grammar_type gr_grammar_regex = {
    .struct_size = sizeof gr_grammar_regex,
    .name = "regex",
    .help = "a regular expression that the whole answer matches",
    .build = build,
};
