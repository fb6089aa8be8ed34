// SPDX-License-Identifier: Apache-2.0
// A sandboxed state: what a script cannot reach, budgets that catching errors does not lift, files as granted, also
// under random names and links; and the budget of choose functions. What takes a process of its own is in
// tests/e2e/sandbox.sh.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lauxlib.h>

#include "script/sandbox.h"

enum { MEMORY = 8 << 20, INSTRUCTIONS = 3000000 };
#define MODELS GREGALE_SOURCE_DIR "/tests/golden/models"

static char folder[64]; // granted: inside/; beside it: outside/
static char bytecode[400]; // of a function that returns 1
static size_t bytecode_size;

static void put(const char *name, const char *bytes, size_t count) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    fclose(file);
}

// ---- Running a text

static gr_status run_bytes(gr_sandbox *sandbox, const char *bytes, size_t count, char **out_message) {
    char path[96];
    lua_State *L;
    put("script.lua", bytes, count);
    snprintf(path, sizeof path, "%s/script.lua", folder);
    sandbox->memory = MEMORY;
    sandbox->instructions = INSTRUCTIONS;
    assert_int_equal(gr_sandbox_open(sandbox, &L, NULL, NULL), GR_OK);
    lua_pushstring(L, folder);
    lua_setglobal(L, "FOLDER");
    lua_pushlstring(L, bytecode, bytecode_size);
    lua_setglobal(L, "BYTECODE");
    gr_status status = gr_script_run(L, path, 0, NULL, out_message);
    assert_true(sandbox->memory_used <= MEMORY);
    lua_close(L);
    assert_int_equal(sandbox->memory_used, 0);
    return status;
}

static gr_status run(gr_sandbox *sandbox, const char *text, char **out_message) {
    return run_bytes(sandbox, text, strlen(text), out_message);
}

static void expect_fine(gr_sandbox *sandbox, const char *text) {
    char *message;
    gr_status status = run(sandbox, text, &message);
    if (status != GR_OK)
        fail_msg("%s\n  %s", text, message);
}

// ---- What there is

static void ordinary_scripts_work(void **state) {
    static const char *const texts[] = {
        "local t = {} for i = 1, 100 do t[i] = i end assert(#table.concat(t, ',') == 291)",
        "assert(load('return 1 + 1')() == 2)",
        "local n = 0 assert(load(function() n = n + 1 return ({'return ', '7'})[n] end)() == 7)",
        "local e = {x = 3} assert(load('return x', 'name', 't', e)() == 3)",
        "local s, m = load('return +', '=mine') assert(not s and m:find('mine:1'))",
        "assert(setmetatable({}, {__index = {a = 5}}).a == 5)",
        "local ok, a, b = xpcall(function(...) return ... end, print, 1, 2) assert(ok and a == 1 and b == 2)",
        "local ok, m = xpcall(error, function(m) return m .. '!' end, 'x') assert(not ok and m == 'x!')",
        "local f = coroutine.wrap(function() return select(2, xpcall(function() return coroutine.yield(1) + 1 end, print))"
        " end) assert(f() == 1 and f(4) == 5)",
        "assert(collectgarbage() == 0 and collectgarbage('count') > 0)",
        "assert(require('gregale').version and require('gregale') == require('gregale'))",
        "do local x <close> = setmetatable({}, {__close = function() closed = true end}) end assert(closed)",
        "assert(io.write('') == true)",
        "assert(utf8.char(8364) == '\\u{20AC}' and math.max(1, 2) == 2 and ('x'):rep(3) == 'xxx')"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        expect_fine(&(gr_sandbox){0}, texts[i]);
}

static void known_escapes_lead_nowhere(void **state) {
    static const char *const texts[] = {
        "assert(not os and not debug and not package and not dofile and not loadfile)",
        "assert(not string.dump and not ('').dump)",
        "for name in pairs(io) do assert(name == 'open' or name == 'write', name) end",
        "for _, n in ipairs{'os', 'debug', 'package', 'ffi', 'io.x'} do assert(not pcall(require, n), n) end",
        "assert(require('_G') == _G and not require('_G').os)", // what package.loaded holds
        "assert(not pcall(require, '../../etc/passwd') and not pcall(require, '/etc/passwd'))",
        "assert(getmetatable('') == false and not pcall(setmetatable, '', {}))",
        "string.find = nil assert(not pcall(function() return ('x'):find('x') end))", // its own alone
        // bytecode, as text, by pieces, and where the script asks for it
        "assert(BYTECODE:byte() == 27 and not load(BYTECODE) and not load(BYTECODE, 'x', 'b'))",
        "assert(not load(BYTECODE, 'x', 'bt', {}) and not load(BYTECODE, 'x', nil, _ENV))",
        "local n = 0 assert(not load(function() n = n + 1 if n <= #BYTECODE then return BYTECODE:sub(n, n) end end, 'x', 'b'))",
        // finalizers
        "assert(not pcall(setmetatable, {}, {__gc = function() end}))",
        "assert(not pcall(setmetatable, {}, {__gc = true}))",
        "local mt = {} local o = setmetatable({}, mt) mt.__gc = function() ran = true end o = nil collectgarbage()"
        " collectgarbage() assert(not ran)",
        "assert(not pcall(setmetatable, {}, setmetatable({__gc = 1}, {__index = function() return nil end})))",
        "local list = require('gregale').from_json('[]') assert(type(getmetatable(list)) ~= 'table' and not pcall(setmetatable, list, {}))",
        "assert(not pcall(collectgarbage, 'stop') and not pcall(collectgarbage, 'generational'))",
        // types of the binding and of files
        "assert(getmetatable(require('gregale').load) == nil)",
        "local g = require('gregale') assert(not pcall(g.load, '/etc/passwd') and not pcall(g.load, FOLDER .. '/x.gguf'))",
        "local f, m = io.open('/etc/passwd') assert(not f and m:find('allow'))",
        "assert(not io.open('/proc/self/mem', 'r+') and not io.open('/proc/self/environ') and not io.open(''))",
        "assert(not pcall(require('gregale').configure, {trace = FOLDER .. '/trace.json'}))",
        "assert(not pcall(io.open, '/etc/passwd\\0.txt'))",
        // errors with a __tostring, deep recursion, hostile comparison
        "local function f() return f() + 1 end local ok, m = pcall(f) assert(not ok)",
        "local t = setmetatable({}, {}) getmetatable(t).__tostring = function() return tostring(t) end assert(not pcall(tostring, t))",
        "local s = ('('):rep(1000) .. '1' .. (')'):rep(1000) assert(not load('return ' .. s))",
        "local function wrap(n) if n == 0 then return 1 end return coroutine.wrap(wrap)(n - 1) end assert(not pcall(wrap, 1000))",
        "assert(not pcall(string.gsub, ('a'):rep(1000), ('a?'):rep(300) .. ('(a'):rep(40), ''))",
        "pcall(table.sort, {5, 2, 7, 1, 9, 3, 8}, function() return true end)",
        "assert(not pcall(table.unpack, {}, 1, 1e8) and not pcall(table.concat, {}, '', 1, 1e9))",
        "assert(not pcall(string.format, '%99999d', 1) and not pcall(string.pack, 'i17', 1))"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        expect_fine(&(gr_sandbox){0}, texts[i]);
}

static void a_script_of_bytecode_is_refused(void **state) {
    char *message;
    (void)state;
    assert_int_equal(run_bytes(&(gr_sandbox){0}, bytecode, bytecode_size, &message), GR_ERROR_SCRIPT);
    assert_non_null(strstr(message, "binary chunk"));
    free(message);
}

// ---- Budgets

// Each would go on for ever; none can be told from what the error says, so the mark is looked at.
static void no_script_outlives_its_instructions(void **state) {
    static const char *const texts[] = {
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local function again() while true do pcall(again) end end while true do pcall(again) end",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "while true do coroutine.wrap(function() for i = 1, 500 do end end)() end", // each ends before anybody looks
        "local t = {} while true do t[#t % 100 + 1] = coroutine.create(function() for i = 1, 9 do end end) end",
        "local co = coroutine.wrap(function() while true do pcall(coroutine.yield) end end) while true do co() end",
        "coroutine.wrap(function() while true do coroutine.wrap(function() while true do pcall(error) end end)() end end)()",
        "local x <close> = setmetatable({}, {__close = function() while true do end end}) error('x')",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function() while true do end end return t.x",
        "error(setmetatable({}, {__tostring = function() while true do end end}))",
        "table.sort({3, 1, 2}, function() while true do end end)",
        "('x'):rep(10):gsub('x', function() while true do end end)",
        "load(function() while true do end end)",
        "for _ in function() return 1 end do end",
        "local g = require 'gregale' while true do pcall(g.parallel, {function() for i = 1, 300 do end end}) end",
        "goto a ::a:: goto a"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        gr_sandbox sandbox = {0};
        char *message;
        gr_status status = run(&sandbox, texts[i], &message);
        if (status == GR_OK || !sandbox.spent)
            fail_msg("not stopped by its budget: %s\n  %s", texts[i], message ? message : "");
        free(message);
    }
}

static void memory_ends(void **state) {
    static const char *const texts[] = {
        "return ('x'):rep(1e9)",
        "local t = {} while true do t[#t + 1] = {} end",
        "local s = 'x' while true do s = s .. s end",
        "return table.concat(setmetatable({}, {__index = function() return ('y'):rep(1e6) end, __len = function() return 1e6 end}))",
        "return ('x'):rep(1e6):gsub('x', ('y'):rep(1000))",
        "local s = ('x'):rep(3e6) return s .. s .. s"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        gr_sandbox sandbox = {0};
        char *message;
        gr_status status = run(&sandbox, texts[i], &message);
        if (status != GR_ERROR_OUT_OF_MEMORY)
            fail_msg("status %d, not out of memory: %s\n  %s", (int)status, texts[i], message ? message : "");
        free(message);
    }
    // Caught, it is still no more; and nothing is kept from the next.
    expect_fine(&(gr_sandbox){0}, "for i = 1, 20 do assert(not pcall(string.rep, 'x', 1e9)) end assert(#('x'):rep(1e6) == 1e6)");
    lua_State *L;
    assert_int_equal(gr_sandbox_open(&(gr_sandbox){.memory = 4000, .instructions = 1}, &L, NULL, NULL),
                     GR_ERROR_OUT_OF_MEMORY);
    assert_null(L);
}

// ---- Files

static void link_to(const char *target, const char *name) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(symlink(target, path), 0);
}

static int add_bytecode(lua_State *L, const void *part, size_t count, void *context) {
    (void)L;
    (void)context;
    if (count > sizeof bytecode - bytecode_size)
        return 1;
    memcpy(bytecode + bytecode_size, part, count);
    bytecode_size += count;
    return 0;
}

static bool make_bytecode(void) {
    lua_State *L = luaL_newstate();
    bool made = L && luaL_loadstring(L, "return 1") == LUA_OK && lua_dump(L, add_bytecode, NULL, 1) == 0 &&
                luaL_loadbuffer(L, bytecode, bytecode_size, "x") == LUA_OK; // outside of a sandbox it is taken
    lua_close(L);
    return made;
}

static int make_folders(void **state) {
    char path[128];
    (void)state;
    if (!make_bytecode())
        return -1;
    strcpy(folder, "/tmp/gregale-sandbox-XXXXXX");
    static const char *const folders[] = {"inside", "inside/deep", "outside", "inside-not"};
    if (!mkdtemp(folder))
        return -1;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, folders[i]);
        if (mkdir(path, 0755) != 0)
            return -1;
    }
    put("inside/a.txt", "in", strlen("in"));
    put("inside/deep/b.txt", "in", strlen("in"));
    put("inside/mod.lua", "return {answer = 42, name = ...}", strlen("return {answer = 42, name = ...}"));
    put("inside/byte.lua", bytecode, bytecode_size);
    put("outside/secret", "out", strlen("out"));
    put("inside-not/secret", "out", strlen("out"));
    link_to("a.txt", "inside/link");
    link_to("../outside/secret", "inside/leak");
    link_to("../outside", "inside/way");
    link_to("/etc", "inside/etc");
    link_to("/dev/null", "inside/null");
    link_to("deep", "inside/shallow");
    snprintf(path, sizeof path, "%s/inside/pipe", folder);
    return mkfifo(path, 0600);
}

static int remove_folders(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static gr_sandbox with_grant(const char *kind, const char *name) {
    char grant[160];
    gr_sandbox sandbox = {0};
    snprintf(grant, sizeof grant, "%s:%s/%s", kind, folder, name);
    assert_int_equal(gr_sandbox_allow(&sandbox, grant, NULL), GR_OK);
    return sandbox;
}

static void files_are_reached_as_granted(void **state) {
    (void)state;
    gr_sandbox sandbox = with_grant("read", "inside/");
    expect_fine(&sandbox,
                "local function read(name) local f <close> = assert(io.open(FOLDER .. '/inside/' .. name)) return f:read('a') end\n"
                "assert(read'a.txt' == 'in' and read'deep/b.txt' == 'in' and read'link' == 'in')\n"
                "assert(read'shallow/b.txt' == 'in' and read'deep/../a.txt' == 'in' and read'../inside//./a.txt' == 'in')\n"
                "local f = io.open(FOLDER .. '/inside/a.txt') assert(getmetatable(f) == false)\n"
                "for line in f:lines() do assert(line == 'in') end f:close()\n"
                "for _, name in ipairs{'leak', 'way/secret', 'etc/passwd', '../outside/secret', '../inside-not/secret', 'pipe',\n"
                "    'null', 'nowhere', 'deep/../../outside/secret', 'way/../outside/secret', '', 'deep'} do\n"
                "  local f, why = io.open(FOLDER .. '/inside/' .. name)\n"
                "  assert(not f and type(why) == 'string', name)\n"
                "end\n"
                "for _, mode in ipairs{'w', 'a', 'r+', 'w+', 'a+b'} do assert(not io.open(FOLDER .. '/inside/a.txt', mode)) end\n"
                "assert(not io.open(FOLDER .. '/inside/new', 'w') and not pcall(io.open, FOLDER .. '/inside/a.txt', 'rx'))\n"
                "assert(require('mod').answer == 42 and require('mod').name == 'mod' and not pcall(require, 'byte'))\n");
    assert_true(sandbox.refused);
    gr_sandbox_deinit(&sandbox);
    sandbox = with_grant("write", "inside");
    expect_fine(&sandbox,
                "local f = assert(io.open(FOLDER .. '/inside/new', 'w')) f:write('one'):close()\n"
                "f = assert(io.open(FOLDER .. '/inside/new', 'a')) f:write('two'):close()\n"
                "f = assert(io.open(FOLDER .. '/inside/new')) assert(f:read('a') == 'onetwo') f:close()\n"
                "for _, name in ipairs{'inside/leak', 'inside/way/new', 'inside/null', 'outside/new', 'inside/pipe', 'new'} do\n"
                "  assert(not io.open(FOLDER .. '/' .. name, 'w'), name)\n"
                "end");
    gr_sandbox_deinit(&sandbox);
    sandbox = with_grant("read", "inside/link"); // one file: the one that the link means
    expect_fine(&sandbox, "assert(io.open(FOLDER .. '/inside/link') and io.open(FOLDER .. '/inside/a.txt'))\n"
                          "assert(not io.open(FOLDER .. '/inside/mod.lua') and not io.open(FOLDER .. '/inside/link/x'))");
    gr_sandbox_deinit(&sandbox);
    gr_error error;
    gr_error_init(&error);
    static const char *const wrong[] = {"read", "read:", "exec:/tmp", "/tmp"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(gr_sandbox_allow(&sandbox, wrong[i], &error), GR_ERROR_INVALID_ARGUMENT);
    assert_int_equal(gr_sandbox_allow(&sandbox, "read:/nonexistent/x", &error), GR_ERROR_NOT_FOUND);
    assert_non_null(strstr(error.message, "/nonexistent/x"));
    assert_int_equal(sandbox.grant_count, 0);
}

// Whatever name is made of these parts: a file that opens lies inside.
static void no_name_leads_outside(void **state) {
    static const char *const parts[] = {"..", ".", "inside", "deep", "way", "etc", "leak", "link", "a.txt", "secret", "outside",
                                        "shallow", "passwd", "", "inside-not", "b.txt", "pipe"};
    char root[128], path[512], real[4096], resolved[4096];
    uint64_t random = 1;
    uint32_t opened = 0, named = 0;
    gr_sandbox sandbox = with_grant("write", "inside");
    (void)state;
    snprintf(root, sizeof root, "%s/inside/", folder);
    assert_int_equal(chdir(folder), 0);
    for (int i = 0; i < 200000; i++) {
        size_t length = 0;
        const char *start[] = {"", "/", root, folder, "inside/"};
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        uint64_t bits = random >> 20;
        length += (size_t)snprintf(path, sizeof path, "%s", start[bits % 5]);
        bits /= 5;
        for (int part = 0; part < 6 && bits % 8; part++, bits /= 8 * 17)
            length += (size_t)snprintf(path + length, sizeof path - length, "/%s", parts[bits / 8 % 17]);
        int file;
        if (gr_sandbox_file(&sandbox, path, O_RDONLY, &file, NULL) == GR_OK) {
            char link[40];
            snprintf(link, sizeof link, "/proc/self/fd/%d", file);
            assert_non_null(realpath(link, resolved));
            close(file);
            if (strncmp(resolved, root, strlen(root)) != 0)
                fail_msg("%s leads to %s", path, resolved);
            opened++;
        }
        if (gr_sandbox_path(&sandbox, path, true, real, sizeof real, NULL) == GR_OK) {
            char *slash = strrchr(real, '/');
            *slash = '\0';
            assert_non_null(realpath(real, resolved));
            if (strcmp(resolved, real) != 0 || strncmp(strcat(resolved, "/"), root, strlen(root)) != 0)
                fail_msg("%s would be written in %s", path, resolved);
            named++;
        }
    }
    assert_true(opened > 1000 && named > 1000);
    gr_sandbox_deinit(&sandbox);
}

// ---- Models

static void models_answer_within_a_sandbox(void **state) {
    (void)state;
    gr_sandbox sandbox = with_grant("write", "inside");
    assert_int_equal(gr_sandbox_allow(&sandbox, "read:" MODELS, NULL), GR_OK);
    expect_fine(&sandbox,
                "local g = require 'gregale'\n"
                "local m = g.load{'" MODELS "/w8-gqa4.gguf', device = 'ref', context = 64}\n"
                "local s = m:session():append('In the end')\n"
                "local text = s:generate{max_tokens = 4, seed = 1}\n"
                "s:save(FOLDER .. '/inside/snapshot')\n"
                "assert(not pcall(s.save, s, FOLDER .. '/outside/snapshot'))\n"
                "assert(not pcall(m.restore, m, FOLDER .. '/outside/secret'))\n"
                "assert(not pcall(s.save, s, FOLDER .. '/inside/null') and not pcall(s.save, s, FOLDER .. '/inside/pipe'))\n"
                "assert(#m:restore(FOLDER .. '/inside/snapshot') == #s)\n"
                "local seen = {}\n" // whatever the module hands out: its metatable cannot be had
                "local function look(value, name)\n"
                "  assert(type(getmetatable(value)) ~= 'table', name)\n"
                "  if type(value) ~= 'table' or seen[value] then return end\n"
                "  seen[value] = true\n"
                "  for key, one in next, value do look(key, name) look(one, name .. '.' .. tostring(key)) end\n"
                "end\n"
                "local _, answer = s:fork():generate{max_tokens = 2, top = 2}\n"
                "look({g = g, m = m, s = s, logits = s:fork():logits(), stream = s:fork():stream{max_tokens = 1}, answer = answer,\n"
                "  info = m:info(), stats = s:stats(), devices = g.devices(), json = g.from_json('[{\"a\":[]},[]]'), null = g.null,\n"
                "  top = s:fork():logits():top(3), map = g.map({1, 2}, function(x) return x end, {errors = 'collect'}), io = io,\n"
                "  file = io.open(FOLDER .. '/inside/a.txt'), co = coroutine.create(print)}, 'what')\n"
                "local texts = g.parallel{function() return s:fork():generate{max_tokens = 2} end,\n"
                "  function() while true do pcall(coroutine.yield) if n then break end n = 1 end end}\n"
                // a choose function's budget is its own
                "local ok, why = pcall(s.generate, s, {max_tokens = 4, choose_instructions = 50000,\n"
                "  choose = function() while true do pcall(function() while true do end end) end end})\n"
                "assert(not ok and why:find('choose_instructions'), why)\n"
                "assert(s:generate{max_tokens = 2, choose = function(l) return (l:argmax()) end} )\n");
    assert_false(sandbox.spent);
    char *message;
    assert_int_equal(run(&sandbox,
                         "local g = require 'gregale'\n"
                         "local m = g.load{'" MODELS "/w8-gqa4.gguf', device = 'ref', context = 64}\n"
                         "while true do pcall(function() m:session():append('a'):generate{max_tokens = 4,\n"
                         "  choose = function() while true do end end} end) end",
                         &message),
                     GR_ERROR_SCRIPT);
    assert_true(sandbox.spent);
    free(message);
    gr_sandbox_deinit(&sandbox);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_scripts_work),
        cmocka_unit_test(known_escapes_lead_nowhere),
        cmocka_unit_test(a_script_of_bytecode_is_refused),
        cmocka_unit_test(no_script_outlives_its_instructions),
        cmocka_unit_test(memory_ends),
        cmocka_unit_test(files_are_reached_as_granted),
        cmocka_unit_test(no_name_leads_outside),
        cmocka_unit_test(models_answer_within_a_sandbox),
    };
    setenv("GREGALE_PLUGIN_PATH", GREGALE_BINARY_DIR "/backends", 1);
    return cmocka_run_group_tests(tests, make_folders, remove_folders);
}
