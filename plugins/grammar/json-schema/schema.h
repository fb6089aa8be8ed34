// SPDX-License-Identifier: Apache-2.0
// schema.h: JSON Schema, draft 2020-12, as rules. Inside plugins/grammar/json-schema.
//
// A value has to satisfy several schemas at once: what allOf, $ref and a chosen branch of anyOf say
// besides the schema itself. So the unit is a conjunction: a sorted list of schemas, each with marks
// for the keywords that were taken apart already. Equal conjunctions are one rule, which is what
// makes recursion end.
#ifndef GREGALE_GRAMMAR_SCHEMA_H
#define GREGALE_GRAMMAR_SCHEMA_H

#include <jansson.h>

#include "plugins/grammar/common/build.h"
#include "plugins/grammar/common/table.h"

// Types of a value; a number is whole or not.
enum {
    GR_TYPE_NULL = 1,
    GR_TYPE_BOOLEAN = 2,
    GR_TYPE_INTEGER = 4,
    GR_TYPE_FRACTION = 8,
    GR_TYPE_STRING = 16,
    GR_TYPE_ARRAY = 32,
    GR_TYPE_OBJECT = 64,
    GR_TYPE_NUMBER = GR_TYPE_INTEGER | GR_TYPE_FRACTION,
    GR_TYPE_ANY = 127
};

// Marks of a schema in a conjunction.
enum { GR_MARK_JOINED = 1, GR_MARK_ANY_OF = 2, GR_MARK_ONE_OF = 4, GR_MARK_BITS = 3 };

enum { GR_CONJUNCTION_MAX = 256 };

// schemas << GR_MARK_BITS | marks, sorted.
typedef struct gr_conjunction {
    uint32_t items[GR_CONJUNCTION_MAX], count;
    bool never; // one of them is `false`
} gr_conjunction;

// A schema and where it stands: in `parent` under `keyword` (NULL: it is the root), there under
// `key` or number `index` (SIZE_MAX: neither). A keyword that begins with '/' is a pointer from the
// root.
typedef struct gr_schema {
    json_t *json;
    uint32_t parent;
    const char *keyword, *key;
    size_t index;
    bool says;  // has keywords, annotations aside
    bool plain; // has keywords other than $ref, allOf, anyOf, oneOf
    uint8_t colour; // for who looks for loops: 0 new, 1 open, 2 closed
} gr_schema;

typedef struct gr_schemas {
    gr_grammar_builder *builder;
    gr_error *error;
    gr_status status;
    json_t *root;
    gr_schema *schemas;
    uint32_t schema_count, schema_capacity;
    gr_pair_table known;       // by the halves of the address of the JSON
    gr_list_table structures;  // type, then the conjunction, of an object or array
    uint32_t *rules, rule_capacity, rules_done; // [structures]
    gr_pair_table strings;     // expression of a text, 0: the rule of the string
    gr_expr gap, character, spelled; // white space; any character, with all escapes or as few as can be
    uint32_t any_rule;         // 0: not made yet
    int depth;
    uint32_t work;             // conjunctions looked at, for the limit on them
} gr_schemas;

// How many bytes of the UTF-8 `text` whole characters take, at most `most`: for %.*s.
int gr_schema_shown(const char *text, int most);

// ---- Errors: the message begins with the JSON pointer of `schema`, and of `keyword` in it if not NULL.
GR_PRINTF(5, 6)
void gr_schema_fail(gr_schemas *s, gr_status status, uint32_t schema, const char *keyword,
                    const char *format, ...);

// ---- schema.c: conjunctions
// The number of a schema, which is registered; its keywords are checked.
uint32_t gr_schema_add(gr_schemas *s, json_t *json, uint32_t parent, const char *keyword,
                       const char *key, size_t index);
void gr_conjunction_add(gr_schemas *s, gr_conjunction *all, uint32_t schema, uint32_t marks);
// Takes references and allOf apart.
void gr_conjunction_join(gr_schemas *s, gr_conjunction *all);
// Once choices are made, too: drops what says nothing more.
void gr_conjunction_reduce(gr_schemas *s, gr_conjunction *all);
static inline json_t *gr_conjunction_json(const gr_schemas *s, const gr_conjunction *all,
                                          uint32_t index) {
    return s->schemas[all->items[index] >> GR_MARK_BITS].json;
}
static inline uint32_t gr_conjunction_schema(const gr_conjunction *all, uint32_t index) {
    return all->items[index] >> GR_MARK_BITS;
}
// The conjunction of one schema that stands in schema `index` of `all`.
void gr_conjunction_of(gr_schemas *s, const gr_conjunction *all, uint32_t index, json_t *json,
                       const char *keyword, const char *key, size_t at, gr_conjunction *out);
// The first schema whose anyOf or oneOf is whole; false when there is none.
bool gr_conjunction_choice(const gr_schemas *s, const gr_conjunction *all, uint32_t *out_index,
                           uint32_t *out_mark, json_t **out_branches);
// `all` with branch `branch` of that choice.
void gr_conjunction_branch(gr_schemas *s, const gr_conjunction *all, uint32_t index, uint32_t mark,
                           size_t branch, gr_conjunction *out);
// The types that its schemas allow; with `implied`, where none is named, those its keywords are about.
// Counts one conjunction more; false when they are too many, or something failed.
bool gr_schema_works(gr_schemas *s);
uint32_t gr_conjunction_types(gr_schemas *s, const gr_conjunction *all, bool implied);
// Values that satisfy all of it.
gr_expr gr_schema_lower(gr_schemas *s, gr_conjunction *all);
gr_expr gr_schema_any(gr_schemas *s); // any value

// ---- Parts: each lowers one type
gr_expr gr_schema_object(gr_schemas *s, const gr_conjunction *all);
gr_expr gr_schema_array(gr_schemas *s, const gr_conjunction *all);
gr_expr gr_schema_string(gr_schemas *s, const gr_conjunction *all); // with its quotation marks
// Without, each character with the one spelling that patterns know.
gr_expr gr_schema_spelling(gr_schemas *s, const gr_conjunction *all);
gr_expr gr_schema_number(gr_schemas *s, const gr_conjunction *all, bool whole);
gr_expr gr_schema_format(gr_schemas *s, const char *name);          // NONE: none is called so, or the builder failed
// Whole numbers 0 to 10^18 - 1.
gr_expr gr_schema_whole(gr_schemas *s, uint64_t least, uint64_t most);

// ---- values.c: enum and const
// True when the values are listed; then *out_expr is those that satisfy everything else.
bool gr_schema_values(gr_schemas *s, const gr_conjunction *all, gr_expr *out_expr);
gr_expr gr_schema_value(gr_schemas *s, json_t *value); // as text, spaced like other answers
// Whether the value fails one of the schemas.
bool gr_schema_refuses(gr_schemas *s, const gr_conjunction *all, json_t *value);
// The listed values: those in all of the lists, in the order of the first; NULL when none are. A new
// array.
json_t *gr_schema_listed(gr_schemas *s, const gr_conjunction *all);
bool gr_schema_equal(json_t *a, json_t *b);
uint32_t gr_schema_type_of(json_t *value);

// ---- exclude.c
// Whether what is generated for `a` certainly fails `b`.
bool gr_schema_excludes(gr_schemas *s, const gr_conjunction *a, const gr_conjunction *b, int depth);

// ---- Keywords
// A whole number that is not negative; `fallback` when no schema has it. Of several the largest
// (`most` false) or the least.
uint32_t gr_keyword_count(gr_schemas *s, const gr_conjunction *all, const char *keyword, bool most,
                          uint32_t fallback);

typedef struct gr_bounds {
    bool has_least, has_most, least_open, most_open;
    json_t *least, *most;
    uint32_t multiple; // 0: none
} gr_bounds;
int gr_number_compare(const json_t *a, const json_t *b); // below, at or above 0
void gr_keyword_bounds(gr_schemas *s, const gr_conjunction *all, gr_bounds *out_bounds);

// What item `at` of an array has to satisfy.
void gr_items_value(gr_schemas *s, const gr_conjunction *all, size_t at, gr_conjunction *out);

// What the schemas of an object say of its members.
typedef struct gr_members {
    const char **names; // listed or required, in order
    uint8_t *required;
    uint32_t count, name_capacity, required_capacity;
    bool closed; // additionalProperties is false somewhere
    bool open;   // further members are generated
} gr_members;
void gr_members_read(gr_schemas *s, const gr_conjunction *all, gr_members *out_members);
void gr_members_deinit(gr_members *members);
// What the value of member `name` (NULL: one that no schema lists) has to satisfy.
void gr_members_value(gr_schemas *s, const gr_conjunction *all, const char *name,
                      gr_conjunction *out);
// What the names have to satisfy; false when propertyNames says nothing.
bool gr_members_names(gr_schemas *s, const gr_conjunction *all, gr_conjunction *out);

#endif
