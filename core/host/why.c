// SPDX-License-Identifier: Apache-2.0
// why.c: what was found, what was refused and why, and what follows, as text and as JSON. The machine's facts are in
// why_machine.c.
#include <string.h>

#include "host/internal.h"

static const char *kind_name(gr_device_kind kind) {
    static const char *const names[] = {"cpu", "gpu", "accelerator", "reference"};
    return kind < sizeof names / sizeof names[0] ? names[kind] : "unknown";
}

// The decision for "auto", in words.
static const char *choice_reason(const gr_registry *r) {
    if (!r->device_count)
        return "no device is usable";
    if (r->devices[0].facts.flags & GR_DEVICE_FALLBACK)
        return "nothing faster was found: this one is correct, not fast";
    return r->device_count > 1 ? "the best score" : "the only device";
}

// ---- Text ----

static void text_plugins(const gr_registry *r, gr_strbuf *out) {
    gr_strbuf_text(out, "searched\n");
    for (uint32_t i = 0; i < r->discovery.place_count; i++)
        gr_strbuf_format(out, "  %s: %s\n", r->discovery.places[i].path,
                         r->discovery.places[i].outcome);
    gr_strbuf_text(out, "plugins\n");
    for (uint32_t i = 0; i < r->plugin_count; i++) {
        const gr_plugin_entry_info *p = &r->plugins[i]->info;
        if (p->accepted)
            gr_strbuf_format(out, "  accepted  %s %s  %s\n", p->name, p->version, p->path);
        else
            gr_strbuf_format(out, "  refused   %s: %s\n", p->path, p->reason);
    }
    if (!r->plugin_count)
        gr_strbuf_text(out, "  none\n");
}

static void text_devices(const gr_registry *r, gr_strbuf *out) {
    gr_strbuf_text(out, "devices, best first\n");
    for (uint32_t i = 0; i < r->device_count; i++) {
        const gr_device_entry *d = &r->devices[i];
        gr_strbuf_format(out, "  %s (%s): %s\n    score %.4g: %s\n", d->name,
                         kind_name(d->facts.kind), d->facts.description, d->score, d->score_reason);
    }
    if (!r->device_count)
        gr_strbuf_text(out, "  none\n");
    gr_strbuf_format(out, "choice    %s: %s\n", r->device_count ? r->devices[0].name : "none",
                     choice_reason(r));
}

// ---- JSON ----

static void json_text(gr_strbuf *out, const char *before, const char *text) {
    gr_strbuf_text(out, before);
    if (text)
        gr_strbuf_json(out, (gr_str){text, strlen(text)});
    else
        gr_strbuf_text(out, "null");
}

static void json_number(gr_strbuf *out, const char *before, uint64_t number) {
    gr_strbuf_format(out, "%s%llu", before, (unsigned long long)number);
}

static void json_flag(gr_strbuf *out, const char *before, uint64_t flag) {
    gr_strbuf_format(out, "%s%s", before, flag ? "true" : "false");
}

static void json_plugins(const gr_registry *r, gr_strbuf *out) {
    gr_strbuf_text(out, ",\"searched\":[");
    for (uint32_t i = 0; i < r->discovery.place_count; i++) {
        json_text(out, i ? ",{\"path\":" : "{\"path\":", r->discovery.places[i].path);
        json_text(out, ",\"outcome\":", r->discovery.places[i].outcome);
        gr_strbuf_text(out, "}");
    }
    gr_strbuf_text(out, "],\"plugins\":[");
    for (uint32_t i = 0; i < r->plugin_count; i++) {
        const gr_plugin_entry_info *p = &r->plugins[i]->info;
        json_text(out, i ? ",{\"path\":" : "{\"path\":", p->path);
        json_text(out, ",\"name\":", p->name);
        json_text(out, ",\"version\":", p->version);
        gr_strbuf_format(out, ",\"accepted\":%s", p->accepted ? "true" : "false");
        json_text(out, ",\"reason\":", p->reason);
        gr_strbuf_text(out, "}");
    }
}

static void json_device(const gr_registry *r, const gr_device_entry *d, gr_strbuf *out) {
    json_text(out, "{\"name\":", d->name);
    json_text(out, ",\"plugin\":", r->plugins[d->plugin]->info.name);
    json_text(out, ",\"kind\":", kind_name(d->facts.kind));
    json_text(out, ",\"description\":", d->facts.description);
    json_number(out, ",\"memory_bytes\":", d->facts.memory_bytes);
    json_number(out, ",\"memory_free_bytes\":", d->facts.memory_free_bytes);
    json_number(out, ",\"bandwidth_bytes_per_second\":", d->facts.bandwidth_bytes_per_second);
    json_number(out, ",\"f32_operations_per_second\":", d->facts.f32_operations_per_second);
    json_number(out, ",\"f16_operations_per_second\":", d->facts.f16_operations_per_second);
    json_number(out, ",\"int8_operations_per_second\":", d->facts.int8_operations_per_second);
    json_flag(out, ",\"host_memory\":", d->facts.flags & GR_DEVICE_HOST_MEMORY);
    json_flag(out, ",\"batch_invariant\":", d->facts.flags & GR_DEVICE_BATCH_INVARIANT);
    json_flag(out, ",\"fallback\":", d->facts.flags & GR_DEVICE_FALLBACK);
    gr_strbuf_format(out, ",\"numa_node\":%d", d->facts.numa_node);
    gr_strbuf_format(out, ",\"score\":%.6g", d->score);
    json_text(out, ",\"reason\":", d->score_reason);
    gr_strbuf_text(out, "}");
}

static void json_devices(const gr_registry *r, gr_strbuf *out) {
    gr_strbuf_text(out, "],\"devices\":[");
    for (uint32_t i = 0; i < r->device_count; i++) {
        gr_strbuf_text(out, i ? "," : "");
        json_device(r, &r->devices[i], out);
    }
    json_text(out, "],\"choice\":{\"device\":", r->device_count ? r->devices[0].name : NULL);
    json_text(out, ",\"reason\":", choice_reason(r));
    gr_strbuf_text(out, "}}");
}

gr_status gr_registry_why(const gr_registry *registry, bool json, gr_strbuf *out_text,
                          gr_error *error) {
    if (json) {
        gr_why_machine_json(registry->topology, registry->took_ns, out_text);
        json_plugins(registry, out_text);
        json_devices(registry, out_text);
    } else {
        gr_why_machine_text(registry->topology, out_text);
        text_plugins(registry, out_text);
        text_devices(registry, out_text);
    }
    if (out_text->failed)
        return gr_fail(error, GR_ERROR_OUT_OF_MEMORY, "host", "no memory to explain the devices");
    return GR_OK;
}
