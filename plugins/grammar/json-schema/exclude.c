// SPDX-License-Identifier: Apache-2.0
// exclude.c: whether what is generated for some schemas certainly fails others, so that of oneOf no
// second branch holds.
#include <string.h>

#include "plugins/grammar/json-schema/schema.h"

enum { DEPTH_MAX = 16 };

static bool has_name(const gr_members *members, const char *name, bool *out_required) {
    for (uint32_t i = 0; i < members->count; i++)
        if (strcmp(members->names[i], name) == 0) {
            *out_required = members->required[i];
            return true;
        }
    *out_required = false;
    return false;
}

// Whether member `name`, generated for `a`, certainly fails `b`.
static bool member_excludes(gr_schemas *s, const gr_conjunction *a, const gr_conjunction *b, const char *name,
                            int depth) {
    gr_conjunction of_a, of_b;
    gr_members_value(s, a, name, &of_a);
    gr_members_value(s, b, name, &of_b);
    return of_b.never || gr_schema_excludes(s, &of_a, &of_b, depth);
}

static bool objects_exclude(gr_schemas *s, const gr_conjunction *a, const gr_conjunction *b, int depth) {
    gr_members of_a, of_b;
    bool excludes = false, required;
    gr_members_read(s, a, &of_a);
    gr_members_read(s, b, &of_b);
    // Always there, and wrong.
    for (uint32_t i = 0; i < of_a.count && !excludes; i++)
        if (of_a.required[i])
            excludes = member_excludes(s, a, b, of_a.names[i], depth);
    // Required, but never there; or wrong when it is.
    for (uint32_t i = 0; i < of_b.count && !excludes; i++)
        if (of_b.required[i]) {
            bool occurs = has_name(&of_a, of_b.names[i], &required) || of_a.open;
            excludes = !occurs || member_excludes(s, a, b, of_b.names[i], depth);
        }
    gr_members_deinit(&of_a);
    gr_members_deinit(&of_b);
    return excludes;
}

static bool arrays_exclude(gr_schemas *s, const gr_conjunction *a, const gr_conjunction *b) {
    return gr_keyword_count(s, a, "minItems", false, 0) > gr_keyword_count(s, b, "maxItems", true, GR_UNBOUNDED) ||
           gr_keyword_count(s, b, "minItems", false, 0) > gr_keyword_count(s, a, "maxItems", true, GR_UNBOUNDED);
}

static bool numbers_exclude(gr_schemas *s, const gr_conjunction *a, const gr_conjunction *b) {
    gr_bounds x, y;
    gr_keyword_bounds(s, a, &x);
    gr_keyword_bounds(s, b, &y);
    int up = x.has_most && y.has_least ? gr_number_compare(x.most, y.least) : 1;
    int down = y.has_most && x.has_least ? gr_number_compare(y.most, x.least) : 1;
    return up < 0 || down < 0 || (up == 0 && (x.most_open || y.least_open)) ||
           (down == 0 && (y.most_open || x.least_open));
}

// Each type that `a` may have, by itself.
static bool types_exclude(gr_schemas *s, const gr_conjunction *a, const gr_conjunction *b, int depth) {
    uint32_t common = gr_conjunction_types(s, a, true) & gr_conjunction_types(s, b, false);
    if (common & (GR_TYPE_NULL | GR_TYPE_BOOLEAN))
        return false;
    if (common & GR_TYPE_NUMBER && !numbers_exclude(s, a, b))
        return false;
    if (common & GR_TYPE_STRING &&
        gr_expr_both(s->builder, gr_schema_spelling(s, a), gr_schema_spelling(s, b)) != GR_EXPR_NONE)
        return false;
    if (common & GR_TYPE_ARRAY && !arrays_exclude(s, a, b))
        return false;
    return !(common & GR_TYPE_OBJECT) || objects_exclude(s, a, b, depth);
}

static bool values_exclude(gr_schemas *s, json_t *listed, const gr_conjunction *b) {
    json_t *value;
    size_t i;
    bool all = true;
    json_array_foreach(listed, i, value)
        all = all && gr_schema_refuses(s, b, value);
    json_decref(listed);
    return all;
}

// Every way to choose on the side whose choice comes first.
static bool choices_exclude(gr_schemas *s, const gr_conjunction *a, const gr_conjunction *b, bool of_a,
                            uint32_t index, uint32_t mark, json_t *branches, int depth) {
    bool all = true;
    for (size_t i = 0; i < json_array_size(branches) && all && s->status == GR_OK; i++) {
        gr_conjunction with;
        gr_conjunction_branch(s, of_a ? a : b, index, mark, i, &with);
        all = of_a ? gr_schema_excludes(s, &with, b, depth) : gr_schema_excludes(s, a, &with, depth);
    }
    return all;
}

bool gr_schema_excludes(gr_schemas *s, const gr_conjunction *first, const gr_conjunction *second, int depth) {
    gr_conjunction a = *first, b = *second;
    uint32_t index, mark;
    json_t *branches, *listed;
    gr_conjunction_join(s, &a);
    gr_conjunction_join(s, &b);
    if (!gr_schema_works(s) || depth++ > DEPTH_MAX)
        return false;
    if (a.never || b.never)
        return true;
    if (gr_conjunction_choice(s, &a, &index, &mark, &branches))
        return choices_exclude(s, &a, &b, true, index, mark, branches, depth);
    if ((listed = gr_schema_listed(s, &a)))
        return values_exclude(s, listed, &b);
    if (gr_conjunction_choice(s, &b, &index, &mark, &branches))
        return choices_exclude(s, &a, &b, false, index, mark, branches, depth);
    if ((listed = gr_schema_listed(s, &b)))
        return values_exclude(s, listed, &a);
    return types_exclude(s, &a, &b, depth);
}
