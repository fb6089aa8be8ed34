// SPDX-License-Identifier: Apache-2.0
// events.c: gregale.on_device_event(f): what happened to devices, told between steps.
#include <stdlib.h>
#include <string.h>

#include "script/internal.h"

typedef struct gr_noted_event {
    struct gr_noted_event *next;
    gr_status status;
    uint64_t sessions;
    bool goes_on;
    char device[64], to[64], message[256];
} gr_noted_event;

static const char key; // of the function, in the registry

void gr_script_note_event(void *context, const gr_device_event *event) {
    gr_script *script = context;
    gr_noted_event *noted = calloc(1, sizeof *noted), **last = &script->events;
    if (!noted)
        return;
    noted->status = event->status;
    noted->sessions = event->sessions;
    noted->goes_on = event->next != NULL;
    snprintf(noted->device, sizeof noted->device, "%s", event->device);
    snprintf(noted->to, sizeof noted->to, "%s", event->next ? event->next : "");
    snprintf(noted->message, sizeof noted->message, "%s", event->message);
    while (*last)
        last = &(*last)->next;
    *last = noted;
}

void gr_script_drop_events(gr_script *script) {
    while (script->events) {
        gr_noted_event *first = script->events;
        script->events = first->next;
        free(first);
    }
}

static void push_event(lua_State *L, const gr_noted_event *event) {
    static const char *const kinds[] = {"lost", "timeout", "memory"};
    int kind = event->status == GR_ERROR_TIMEOUT ? 1 : event->status == GR_ERROR_OUT_OF_MEMORY ? 2 : 0;
    lua_createtable(L, 0, 5);
    lua_pushstring(L, kinds[kind]);
    lua_setfield(L, -2, "kind");
    lua_pushstring(L, event->device);
    lua_setfield(L, -2, "device");
    if (event->goes_on) {
        lua_pushstring(L, event->to);
        lua_setfield(L, -2, "next");
    }
    lua_pushstring(L, event->message);
    lua_setfield(L, -2, "message");
    lua_pushinteger(L, (lua_Integer)event->sessions);
    lua_setfield(L, -2, "sessions");
}

void gr_script_tell_events(lua_State *L, gr_script *script) {
    while (script->events) {
        gr_noted_event event = *script->events;
        free(script->events);
        script->events = event.next;
        if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) == LUA_TFUNCTION) {
            push_event(L, &event);
            lua_call(L, 1, 0);
        } else
            lua_pop(L, 1);
    }
}

int gr_lua_on_device_event(lua_State *L) {
    if (!lua_isfunction(L, 1) && !lua_isnil(L, 1))
        return gr_arg_fail(L, "gregale.on_device_event", "f", "a function or nil", 1);
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
    return 0;
}
