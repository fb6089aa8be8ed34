-- SPDX-License-Identifier: Apache-2.0
-- The annotations name what the module has, and nothing else: functions, methods, options, fields of results.
local gregale = require "gregale"
local support = require "support"
local raises, same = support.raises, support.same

local function read(name)
  local file <close> = assert(io.open(SOURCE_DIR .. "/" .. name))
  return file:read("a")
end

-- ---- What is annotated: functions by their table, fields by their class

local functions, fields, operators, class = {}, {}, {}, nil
for line in read("scripts/annotations/gregale.lua"):gmatch("[^\n]+") do
  local kind, rest = line:match("^%-%-%-@(%w+) (.*)$")
  local name = rest and rest:match("^[%w_.]+%??")
  if kind == "class" then
    class = name
    fields[class] = {}
  elseif kind == "field" and name then
    fields[class][name:gsub("%?$", "")] = name:sub(-1) == "?" and "optional" or "always"
  elseif kind == "operator" then
    operators[class .. " " .. name] = true
  end
  local owner, method = line:match("^function ([%w_]+)[.:]([%w_]+)%(")
  if owner then
    functions[owner] = functions[owner] or {}
    functions[owner][method] = true
  end
end

local function compare(what, real, annotated)
  for name in pairs(real) do assert(annotated[name], what .. "." .. name .. " is not annotated") end
  for name in pairs(annotated) do assert(real[name] ~= nil, what .. "." .. name .. " is annotated, but not there") end
end

-- ---- Functions and methods

local model = support.load(TOOL_MODEL, { chat_format = "mistral-v3" })
local session = model:session{ tools = '[{"type": "function", "function": {"name": "f", "parameters": {}}}]' }
session:user("x")
local letters = model:tokenize("xx") -- an answer with text in it
local stream = session:stream{ max_tokens = 2, choose = function() return letters[#letters] end }
while stream() do end
session:append("x")
local logits = session:logits()

local module = {}
for name, value in pairs(gregale) do
  if type(value) == "function" then module[name] = true else assert(fields.gregale[name], name) end
end
compare("gregale", module, functions.gregale)
compare("gregale", gregale, setmetatable(fields.gregale, { __index = functions.gregale }))
for name, object in pairs{ model = model, session = session, stream = stream, logits = logits } do
  local meta = debug.getmetatable(object)
  compare(name, meta.methods, functions[name])
  for _, operator in ipairs{ "len", "call" } do
    same(operators["gregale." .. name .. " " .. operator], meta["__" .. operator] and true, name .. " " .. operator)
  end
end
for owner in pairs(functions) do assert(({ gregale = 1, model = 1, session = 1, stream = 1, logits = 1 })[owner], owner) end

-- ---- Options: an unknown one is answered with the list of those that exist

local seen = {}
local function options(name, call)
  local fine, message = pcall(call, { [" "] = 1 })
  assert(not fine, name)
  local real = {}
  for option in message:match("expected one of: (.*)$"):gmatch("[%w_]+") do real[option] = true end
  compare(name, real, fields["gregale." .. name])
  seen["gregale." .. name] = true
end
options("configure_options", gregale.configure)
options("why_options", gregale.why)
options("load_options", function(o) o.path = "x" gregale.load(o) end)
options("branches", gregale.parallel)
options("map_options", function(o) gregale.map({}, print, o) end)
options("tokenize_options", function(o) model:tokenize("", o) end)
options("detokenize_options", function(o) model:detokenize({}, o) end)
options("session_options", function(o) model:session(o) end)
options("restore_options", function(o) model:restore("x", o) end)
options("move_options", function(o) model:move("x", o) end)
options("embed_options", function(o) session:embed("x", o) end)
options("assistant_options", function(o) session:assistant("x", o) end)
options("tool_options", function(o) session:tool("x", o) end)
options("generate_options", function(o) session:generate(o) end)
options("choose_options", function(o) o[1] = "x" session:choose(o) end)

-- ---- Results: a field is there, or says that it may be absent

local function result(name, real)
  local annotated = fields["gregale." .. name]
  for key in pairs(real) do
    if type(key) == "string" then assert(annotated[key], name .. "." .. key .. " is not annotated") end
  end
  for key, when in pairs(annotated) do
    assert(real[key] ~= nil or when == "optional", name .. "." .. key .. " is annotated, but not there")
  end
  seen["gregale." .. name] = true
end
local _, info = session:generate{ max_tokens = 3, top = 1, choose = function() return letters[#letters] end }
result("generate_info", info); result("token_choice", info.top[1][1])
for name in pairs(fields["gregale.generate_info"]) do
  assert(info[name] ~= nil or name == "tool_error", name .. " is absent")
end
result("answer", session:generate{ n = 1, max_tokens = 1 }[1])
result("device", gregale.devices()[1]); result("model_info", model:info()); result("session_stats", session:stats())
result("results", gregale.parallel{ errors = "collect" }); result("logit", session:logits():top(1)[1])
result("turn", session:turns()[1])
local moved = session:move(DEVICE, { check = false })
result("move_info", moved)
local words = model:tokenize('[TOOL_CALLS] [{"name": "f", "arguments": {}, "id": "abcdefghi"}]', { parse_control = true })
words[#words + 1] = 2
local chat, i = model:session{ tools = '[{"type": "function", "function": {"name": "f", "parameters": {}}}]' }, 0
chat:user("x")
chat:generate{ choose = function() i = i + 1 return words[i] end }
result("turn", chat:turns()[2]); result("tool_call", chat:turns()[2].tool_calls[1])
local event
local lost = support.model():session():append("And")
gregale.on_device_event(function(e) event = e end)
plant(DEVICE, 1)
pcall(lost.generate, lost, { max_tokens = 5, ignore_end = true })
cure()
gregale.on_device_event(nil)
result("device_event", event)
for _, name in ipairs{ "", ".model", ".session", ".stream", ".logits" } do seen["gregale" .. name] = true end
for name in pairs(fields) do assert(seen[name], "nothing was compared with " .. name) end

-- ---- The manual names every function, too
local manual = read("docs/lua.md")
for owner, methods in pairs(functions) do
  for name in pairs(methods) do
    assert(manual:find((owner == "gregale" and "gregale." or ":") .. name, 1, true), "docs/lua.md does not mention " .. owner .. " " .. name)
  end
end
