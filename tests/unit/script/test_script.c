// SPDX-License-Identifier: Apache-2.0
// Runs the Lua files beside this one through the binding, one Lua state a file, and checks how
// files are run: arguments, tracebacks, interrupts.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lualib.h>

#include "gguf_writer.h"
#include "script/internal.h"
#include "tests/unit/engine/fault.h"

#define CASES GREGALE_SOURCE_DIR "/tests/unit/script/"

static char model_path[256], tool_model_path[256];

static bool save_model(char path[256], const char *name, const char *const *words, uint32_t count) {
    gguf_writer writer;
    gguf_tiny tiny = {.dim = 32, .ffn_dim = 32, .window = 64, .context = 8192, .seed = 1};
    snprintf(path, 256, GREGALE_BINARY_DIR "/tests/%s-%d.gguf", name, (int)getpid());
    gguf_writer_init(&writer);
    tiny.vocab = gguf_writer_vocabulary(&writer, false, words, count);
    gguf_writer_tiny(&writer, &tiny);
    bool saved = gguf_writer_save(&writer, path);
    gguf_writer_deinit(&writer);
    return saved;
}

static int make_models(void **state) {
    static const char *const words[] = {"th",  "the",       "\u2581the", "an", "and", "\u2581and",
                                        "ing", "\u2581king", "on",        "er"};
    static const char *const controls[] = {
        "[INST]",          "[/INST]",           "[TOOL_CALLS]",       "[TOOL_RESULTS]",
        "[/TOOL_RESULTS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]",
        "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]",  "[TOOL_CONTENT]"};
    (void)state;
    return save_model(model_path, "ascii", words, sizeof words / sizeof words[0]) &&
                   save_model(tool_model_path, "tools", controls,
                              sizeof controls / sizeof controls[0])
               ? 0
               : -1;
}

static int remove_models(void **state) {
    (void)state;
    return unlink(model_path) | unlink(tool_model_path);
}

// plant(device, steps): the device is lost after so many more steps. cure(): it can be opened again.
static int plant_from_lua(lua_State *L) {
    plant(gr_script_get(L)->engine, luaL_checkstring(L, 1), AT_STEP, (unsigned)luaL_checkinteger(L, 2),
          GR_ERROR_DEVICE_LOST);
    return 0;
}

static int cure_from_lua(lua_State *L) {
    (void)L;
    cure_all();
    return 0;
}

static lua_State *open_state(gr_script **out_script) {
    lua_State *L = luaL_newstate();
    assert_non_null(L);
    luaL_openlibs(L);
    gr_script *script = gr_script_open(L);
    if (out_script)
        *out_script = script;
    lua_pushliteral(L, GREGALE_SOURCE_DIR);
    lua_setglobal(L, "SOURCE_DIR");
    lua_pushstring(L, test_device());
    lua_setglobal(L, "DEVICE");
    lua_pushstring(L, model_path);
    lua_setglobal(L, "MODEL");
    lua_pushstring(L, tool_model_path);
    lua_setglobal(L, "TOOL_MODEL");
    lua_register(L, "plant", plant_from_lua);
    lua_register(L, "cure", cure_from_lua);
    assert_int_equal(
        luaL_dostring(L,
                      "package.path = SOURCE_DIR .. '/tests/unit/script/?.lua;' .. package.path"),
        LUA_OK);
    return L;
}

// A file passes when it raises nothing.
static void run_file(const char *name) {
    char path[512], *message = NULL;
    lua_State *L = open_state(NULL);
    snprintf(path, sizeof path, CASES "%s", name);
    gr_status status = gr_script_run(L, path, 0, NULL, &message);
    if (status != GR_OK)
        print_error("%s\n", message ? message : "no message");
    free(message);
    lua_close(L);
    assert_int_equal(status, GR_OK);
}

static void arguments(void **state) {
    (void)state;
    run_file("arguments.lua");
}

static void sessions(void **state) {
    (void)state;
    run_file("sessions.lua");
}

static void generation(void **state) {
    (void)state;
    run_file("generation.lua");
}

static void lifetimes(void **state) {
    (void)state;
    run_file("lifetimes.lua");
}

static void tools(void **state) {
    (void)state;
    run_file("tools.lua");
}

static void tool_loop(void **state) {
    (void)state;
    run_file("tool_loop.lua");
}

static void schemas(void **state) {
    (void)state;
    run_file("schemas.lua");
}

static void guards(void **state) {
    (void)state;
    run_file("guards.lua");
}

static void snapshots(void **state) {
    (void)state;
    run_file("snapshots.lua");
}

static void branches(void **state) {
    (void)state;
    run_file("branches.lua");
}

static void yields(void **state) {
    (void)state;
    run_file("yields.lua");
}

static void beams(void **state) {
    (void)state;
    run_file("beams.lua");
}

static void annotations(void **state) {
    (void)state;
    run_file("annotations.lua");
}

static void memory(void **state) {
    (void)state;
    run_file("memory.lua");
}

static void steering(void **state) {
    (void)state;
    run_file("steering.lua");
}

static void constraints(void **state) {
    (void)state;
    run_file("constraints.lua");
}

static void moves(void **state) {
    (void)state;
    run_file("moves.lua");
}

static void library(void **state) {
    (void)state;
    run_file("library.lua");
}

// ---- Running files

static char *write_script(const char *text) {
    static char path[] = "/tmp/gregale-script-XXXXXX";
    memcpy(path + strlen(path) - 6, "XXXXXX", 6);
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, text, strlen(text)), (ssize_t)strlen(text));
    close(file);
    return path;
}

static gr_status run_text(const char *text, char **out_message) {
    char *argv[] = {"one", "two"};
    lua_State *L = open_state(NULL);
    char *path = write_script(text);
    gr_status status = gr_script_run(L, path, 2, argv, out_message);
    unlink(path);
    lua_close(L);
    return status;
}

static void files_get_their_arguments(void **state) {
    (void)state;
    char *message;
    assert_int_equal(
        run_text("#!/usr/bin/env gregale\nlocal a, b = ...\n"
                 "assert(a == 'one' and b == 'two' and arg[1] == a and arg[2] == b and #arg == 2)\n"
                 "assert(arg[0]:match('gregale%-script'))",
                 &message),
        GR_OK);
    assert_null(message);
}

static void errors_point_into_the_script(void **state) {
    (void)state;
    char *message;
    assert_int_equal(run_text("local function inner()\n  error('wrong')\nend\ninner()\n", &message),
                     GR_ERROR_SCRIPT);
    assert_non_null(strstr(message, ":2: wrong"));
    assert_non_null(strstr(message, ":4: in main chunk"));
    free(message);
    assert_int_equal(run_text("error({})", &message), GR_ERROR_SCRIPT);
    assert_non_null(strstr(message, "error object is a table value"));
    free(message);
    assert_int_equal(run_text("return +", &message), GR_ERROR_SCRIPT);
    assert_non_null(strstr(message, ":1:"));
    free(message);
}

static void errors_in_branches_point_into_them(void **state) {
    (void)state;
    char *message;
    assert_int_equal(run_text("local gregale = require 'gregale'\n"
                              "local function inner()\n"
                              "  gregale.parallel{ function()\n"
                              "    error('wrong')\n"
                              "  end }\n"
                              "end\n"
                              "gregale.parallel{ print, function()\n"
                              "  inner()\n"
                              "end }\n",
                              &message),
                     GR_ERROR_SCRIPT);
    const char *at = message;
    static const char *const calls[] = {":4: wrong\nstack traceback:", ":4: in function <", "(a branch; it was run by)",
                                        ":3: in ", ":8: in function <", "(a branch; it was run by)", ":7: in main chunk"};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        const char *found = strstr(at, calls[i]);
        if (!found)
            print_error("%s: not in\n%s\n", calls[i], message);
        assert_non_null(found);
        at = found + 1;
    }
    free(message);
    // Caught, and another one raised: what the first one's branch called is not told.
    assert_int_equal(run_text("local gregale = require 'gregale'\n"
                              "pcall(gregale.parallel, { function() error('one') end })\n"
                              "error('two')\n",
                              &message),
                     GR_ERROR_SCRIPT);
    assert_non_null(strstr(message, ":3: two"));
    assert_null(strstr(message, "a branch"));
    free(message);
}

static void a_missing_file_is_said(void **state) {
    (void)state;
    char *message;
    lua_State *L = open_state(NULL);
    assert_int_equal(gr_script_run(L, "/nonexistent/a.lua", 0, NULL, &message), GR_ERROR_NOT_FOUND);
    assert_non_null(strstr(message, "/nonexistent/a.lua"));
    free(message);
    assert_int_equal(lua_gettop(L), 0);
    lua_close(L);
}

static int interrupt_from_lua(lua_State *L) {
    gr_script_interrupt(gr_script_open(L));
    return 0;
}

static void interrupts_stop_loops_and_answers(void **state) {
    (void)state;
    static const char *const texts[] = {
        "interrupt(); while true do end",
        "require('gregale').parallel{ function() interrupt(); while true do end end }",
        "local s = require('support').model():session(); s:append('In the beginning')\n"
        "local n = 0\n"
        "for piece in s:stream{ignore_end=true} do n = n + 1; if n == 3 then interrupt() end end"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char *message;
        lua_State *L = open_state(NULL);
        lua_register(L, "interrupt", interrupt_from_lua);
        char *path = write_script(texts[i]);
        assert_int_equal(gr_script_run(L, path, 0, NULL, &message), GR_ERROR_CANCELLED);
        assert_non_null(strstr(message, "interrupted"));
        free(message);
        unlink(path);
        lua_close(L);
    }
}

// An error is an interrupt because it came of one, whatever its words are.
static void only_interrupts_are_interrupts(void **state) {
    (void)state;
    static const struct {
        const char *text;
        gr_status status;
    } cases[] = {
        {"error('the download was interrupted')", GR_ERROR_SCRIPT},
        {"error('interrupted', 0)", GR_ERROR_SCRIPT},
        {"error(select(2, pcall(loop)), 0)", GR_ERROR_CANCELLED},
        {"local _, raised = pcall(loop) coroutine.wrap(error)(raised, 0)", GR_ERROR_CANCELLED},
        {"pcall(loop) error('the download was interrupted')", GR_ERROR_SCRIPT},
        {"local x <close> = setmetatable({}, {__close = function() error('second') end}) loop()", GR_ERROR_SCRIPT},
        {"assert(gregale.interrupted(select(2, pcall(loop))))", GR_OK},
        {"pcall(loop) assert(not gregale.interrupted('interrupted') and not gregale.interrupted(nil) and not pcall(gregale.interrupted))",
         GR_OK},
        {"assert(not command.pcall(error, 'x: interrupted', 0))", GR_OK},
        {"pcall(command.pcall, loop) assert(not command.pcall(error, 'x: interrupted', 0))", GR_OK},
        {"command.pcall(loop)", GR_ERROR_CANCELLED},
        {"gregale.map({1, 2}, function() command.pcall(loop) end, {errors = 'collect'})", GR_ERROR_CANCELLED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[600], *message;
        snprintf(text, sizeof text, "local gregale, command = require 'gregale', require 'gregale.command'\n"
                 "local function loop() interrupt() while true do end end\n%s", cases[i].text);
        lua_State *L = open_state(NULL);
        lua_register(L, "interrupt", interrupt_from_lua);
        char *path = write_script(text);
        gr_status status = gr_script_run(L, path, 0, NULL, &message);
        if (status != cases[i].status)
            fail_msg("%s: status %d, expected %d: %s", cases[i].text, (int)status, (int)cases[i].status, message ? message : "");
        free(message);
        unlink(path);
        lua_close(L);
    }
}

// ---- Logits

// NaN counts like -infinity wherever it stands, and argmax is the first of top.
static void no_nan_is_largest(void **state) {
    static const struct {
        float logits[4];
        lua_Integer best;
    } cases[] = {
        {{NAN, 1, 3, 2}, 2},
        {{NAN, -INFINITY, -5, NAN}, 2},
        {{4, NAN, 3, NAN}, 0},
        {{-INFINITY, NAN, -7, -7}, 2},
        {{NAN, NAN, INFINITY, 1}, 2},
        {{NAN, NAN, NAN, NAN}, 0},
    };
    (void)state;
    lua_State *L = open_state(NULL);
    assert_int_equal(luaL_dostring(L, "return require('support').model():session()"), LUA_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gr_logits_push(L, 1, cases[i].logits, 4);
        lua_setglobal(L, "view");
        assert_int_equal(luaL_dostring(L, "return (view:argmax()), view:top(1)[1].token"), LUA_OK);
        assert_int_equal(lua_tointeger(L, -2), cases[i].best);
        assert_int_equal(lua_tointeger(L, -1), cases[i].best);
        lua_settop(L, 1);
    }
    lua_close(L);
}

// ---- Completing at the prompt

static void check_completion(lua_State *L, const char *text, const char *expected) {
    size_t word;
    char *names = gr_script_complete(L, text, strlen(text), &word);
    if (!names || strcmp(names, expected) != 0)
        fail_msg("%.40s: expected %s, got %s", text, expected, names ? names : "nothing");
    free(names);
}

// However many parts it has: the stack holds one of them.
static void long_names_complete(void **state) {
    enum { PARTS = 20000 };
    static char text[3 * PARTS + 20];
    lua_State *L = open_state(NULL);
    (void)state;
    for (int i = 0; i < PARTS; i++)
        memcpy(text + 3 * i, "_G.", 3);
    strcpy(text + 3 * PARTS, "_VERSION:rev");
    check_completion(L, text, "reverse\n");
    strcpy(text + 3 * PARTS, "pri");
    check_completion(L, text, "print\n");
    lua_close(L);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments),
        cmocka_unit_test(sessions),
        cmocka_unit_test(generation),
        cmocka_unit_test(lifetimes),
        cmocka_unit_test(tools),
        cmocka_unit_test(tool_loop),
        cmocka_unit_test(schemas),
        cmocka_unit_test(guards),
        cmocka_unit_test(branches),
        cmocka_unit_test(yields),
        cmocka_unit_test(beams),
        cmocka_unit_test(annotations),
        cmocka_unit_test(memory),
        cmocka_unit_test(steering),
        cmocka_unit_test(constraints),
        cmocka_unit_test(snapshots),
        cmocka_unit_test(moves),
        cmocka_unit_test(library),
        cmocka_unit_test(files_get_their_arguments),
        cmocka_unit_test(errors_point_into_the_script),
        cmocka_unit_test(errors_in_branches_point_into_them),
        cmocka_unit_test(a_missing_file_is_said),
        cmocka_unit_test(interrupts_stop_loops_and_answers),
        cmocka_unit_test(only_interrupts_are_interrupts),
        cmocka_unit_test(no_nan_is_largest),
        cmocka_unit_test(long_names_complete),
    };
    setenv("GREGALE_PLUGIN_PATH", GREGALE_BINARY_DIR "/backends:" GREGALE_BINARY_DIR "/tests/far", 1);
    return cmocka_run_group_tests(tests, make_models, remove_models);
}
