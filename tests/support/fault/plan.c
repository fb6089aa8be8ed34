// SPDX-License-Identifier: Apache-2.0
// plan.c: plans as text, and what a plan does to a call. README.md has the grammar.
#include <ctype.h>
#include <stdlib.h>

#include "fault.h"

enum { ITEM_LIMIT = 80 };

static const char *const points[GR_FAULT_POINT_COUNT] = {
    "open",  "buffer", "weight", "kv",   "resize", "compile",
    "queue", "alloc",  "memory", "copy", "submit", "fence"};

static const char *const kinds[GR_FAULT_KIND_COUNT] = {"none", "oom", "lost", "late", "never"};

// What may happen at each point, as bits 1 << kind.
enum { OOM = 1u << GR_FAULT_OOM, LOST = 1u << GR_FAULT_LOST, EVERY = ~0u };
static const uint32_t fitting[GR_FAULT_POINT_COUNT] = {
    [GR_FAULT_OPEN] = OOM | LOST,
    [GR_FAULT_BUFFER] = OOM | LOST,
    [GR_FAULT_WEIGHT] = OOM | LOST,
    [GR_FAULT_KV] = OOM | LOST,
    [GR_FAULT_RESIZE] = OOM | LOST,
    [GR_FAULT_COMPILE] = OOM | LOST,
    [GR_FAULT_QUEUE] = OOM | LOST,
    [GR_FAULT_ALLOC] = OOM | LOST,
    [GR_FAULT_MEMORY] = OOM,
    [GR_FAULT_COPY] = LOST,
    [GR_FAULT_SUBMIT] = OOM | LOST,
    [GR_FAULT_FENCE] = LOST | 1u << GR_FAULT_LATE | 1u << GR_FAULT_NEVER};

const char *fault_point_name(gr_fault_point point) {
    return point < GR_FAULT_POINT_COUNT ? points[point] : "?";
}

const char *fault_kind_name(gr_fault_kind kind) {
    return kind < GR_FAULT_KIND_COUNT ? kinds[kind] : "?";
}

// ---- Reading. Each reader moves *at behind what it read; false when that is something else. ----

static bool read_text(const char **at, const char *text) {
    size_t length = strlen(text);
    if (strncmp(*at, text, length))
        return false;
    *at += length;
    return true;
}

static bool read_number(const char **at, uint64_t *out) {
    char *end;
    if (!isdigit((unsigned char)**at))
        return false;
    *out = strtoull(*at, &end, 10);
    *at = end;
    return true;
}

// The longest of `names` that stands here.
static bool read_name(const char **at, const char *const *names, uint32_t count, uint32_t *out) {
    size_t length = strspn(*at, "abcdefghijklmnopqrstuvwxyz");
    for (*out = 0; *out < count; ++*out) {
        if (length && strlen(names[*out]) == length && !strncmp(*at, names[*out], length)) {
            *at += length;
            return true;
        }
    }
    return false;
}

static bool read_time(const char **at, uint64_t *out_ns) {
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};
    if (!read_number(at, out_ns) || *out_ns > UINT32_MAX)
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (read_text(at, units[i].name)) {
            *out_ns *= units[i].ns;
            return true;
        }
    }
    return false;
}

// "a+b", as bits.
static bool read_set(const char **at, const char *const *names, uint32_t count, uint32_t *out_set) {
    uint32_t one;
    *out_set = 0;
    do {
        if (!read_name(at, names, count, &one))
            return false;
        *out_set |= 1u << one;
    } while (read_text(at, "+"));
    return true;
}

// "17", "17-20" or "17+".
static bool read_range(const char **at, fault_rule *rule) {
    if (!read_number(at, &rule->first) || !rule->first)
        return false;
    rule->last = rule->first;
    if (read_text(at, "+"))
        rule->last = UINT64_MAX;
    else if (read_text(at, "-"))
        return read_number(at, &rule->last) && rule->last >= rule->first;
    return true;
}

static const char *read_rule(const char **at, fault_plan *plan) {
    fault_rule rule = {0};
    if (!read_name(at, points, GR_FAULT_POINT_COUNT, &rule.point))
        return "no point or setting is called so";
    if (!read_text(at, ":") || !read_range(at, &rule))
        return "expected :N, :N-M or :N+";
    if (!read_text(at, "=") || !read_name(at, kinds, GR_FAULT_KIND_COUNT, &rule.kind))
        return "expected =oom, =lost, =late TIME or =never";
    if (!(fitting[rule.point] & 1u << rule.kind))
        return "that does not happen there";
    if (rule.kind == GR_FAULT_LATE && (!read_text(at, " ") || !read_time(at, &rule.delay_ns)))
        return "expected a time (20ms)";
    if (plan->rule_count == FAULT_RULES)
        return "too many rules";
    plan->rules[plan->rule_count++] = rule;
    return NULL;
}

static bool read_rate(const char **at, double *out) {
    char *end;
    if (!isdigit((unsigned char)**at))
        return false;
    *out = strtod(*at, &end);
    *at = end;
    return *out >= 0 && *out <= 1;
}

// NULL, or what is wrong.
static const char *read_item(const char **at, fault_plan *plan) {
    if (read_text(at, "seed:"))
        return read_number(at, &plan->seed) ? NULL : "expected a number";
    if (read_text(at, "rate:"))
        return read_rate(at, &plan->rate) ? NULL : "expected a number from 0 to 1";
    if (read_text(at, "late:"))
        return read_time(at, &plan->late_ns) ? NULL : "expected a time (20ms)";
    if (read_text(at, "silent")) {
        plan->silent = true;
        return NULL;
    }
    if (read_text(at, "limit:"))
        return read_number(at, &plan->limit) ? NULL : "expected a number";
    if (read_text(at, "only:"))
        return read_set(at, kinds, GR_FAULT_KIND_COUNT, &plan->kinds) ? NULL : "expected oom+lost...";
    if (read_text(at, "at:"))
        return read_set(at, points, GR_FAULT_POINT_COUNT, &plan->points) ? NULL
                                                                         : "expected submit+fence...";
    return read_rule(at, plan);
}

gr_status fault_plan_parse(const char *text, fault_plan *out_plan, gr_error *error) {
    const char *at = text ? text : "", *why = NULL;
    *out_plan = (fault_plan){
        .kinds = EVERY, .points = EVERY, .late_ns = 5000000, .limit = UINT64_MAX};
    while (*at && !why) {
        const char *item = at;
        why = read_item(&at, out_plan);
        if (!why && *at && !read_text(&at, ","))
            why = "something stands behind it";
        if (why)
            return gr_fail(error, GR_ERROR_INVALID_ARGUMENT, FAULT, "fault plan, '%.*s': %s",
                           (int)(strcspn(item, ",") < ITEM_LIMIT ? strcspn(item, ",") : ITEM_LIMIT),
                           item, why);
    }
    return GR_OK;
}

// ---- Asking ----

// The finaliser of SplitMix64.
static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static gr_fault_kind pick(uint32_t set, uint64_t random) {
    uint32_t among = 0;
    for (gr_fault_kind kind = 1; kind < GR_FAULT_KIND_COUNT; kind++)
        among += set >> kind & 1;
    uint64_t left = among ? random % among : 0;
    for (gr_fault_kind kind = 1; kind < GR_FAULT_KIND_COUNT; kind++) {
        if ((set >> kind & 1) && !left--)
            return kind;
    }
    return GR_FAULT_NONE;
}

// By draw: keyed by seed, point and number, so that threads change nothing. ALLOC counts what other
// points count already.
static gr_fault_event draw(const fault_plan *plan, gr_fault_point point, uint64_t number) {
    gr_fault_event event = {.point = point, .number = number};
    uint64_t random = mix(plan->seed ^ mix(point + 1) ^ mix(number * UINT64_C(0x9e3779b97f4a7c15)));
    bool chosen = (double)(random >> 11) * 0x1p-53 < plan->rate;
    if (!chosen || point == GR_FAULT_ALLOC || !(plan->points >> point & 1))
        return event;
    event.kind = pick(fitting[point] & plan->kinds, mix(random));
    if (event.kind == GR_FAULT_LATE)
        event.delay_ns = 1 + mix(random + 1) % (plan->late_ns ? plan->late_ns : 1);
    return event;
}

gr_fault_event fault_plan_at(const fault_plan *plan, gr_fault_point point, uint64_t number) {
    for (uint32_t i = 0; i < plan->rule_count; i++) {
        const fault_rule *rule = &plan->rules[i];
        if (rule->point == point && number >= rule->first && number <= rule->last)
            return (gr_fault_event){point, rule->kind, number, rule->delay_ns};
    }
    return draw(plan, point, number);
}
