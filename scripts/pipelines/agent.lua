#!/usr/bin/env -S gregale script
-- SPDX-License-Identifier: Apache-2.0
local command, json = require "gregale.command", require "gregale.json"
local prompt, text, tools = require "gregale.prompt", require "gregale.text", require "gregale.tools"

local options = command.arguments([[
Usage: gregale script agent.lua MODEL.gguf TASK [FILE...] [OPTION...]
Works on the task (- for standard input) with tools: it calculates, searches and reads the files, and calls the functions
of --tools, until it has an answer. Models whose chat format has tool calls use those; any other writes each step as JSON
that can be nothing but a call or the answer.

  --tools FILE      a Lua file that returns a list of further tools, as docs/tools.md has them
  --max-steps N     answers and calls at most (default 8)
  --max-tokens N    most tokens of a step (default 200)
  --temperature X   of the sampler; 0 takes the likeliest token (default 0)
  --seed N          of the first step (default 1)
  --show            write every call and its result to standard error
  --device NAME     where the model runs (default auto)]], arg)

-- ---- Tools

local function parameters(properties, required)
  return { type = "object", properties = properties, required = required, additionalProperties = false }
end

local list = { {
  name = "calculate",
  description = "The value of an arithmetic expression, such as 2*(3+4)^2.",
  parameters = parameters({ expression = { type = "string", maxLength = 80 } }, { "expression" }),
  call = function(input)
    if input.expression:find("[^%d%s.+*/%%^()-]") then error("expected numbers, parentheses and + - * / % ^", 0) end
    local compiled = load("return " .. input.expression, "=expression", "t", {})
    local value = compiled and compiled()
    if not math.type(value) or input.expression:find("--", 1, true) then error("not an expression", 0) end
    return tostring(value)
  end } }

local files = {}
for _, path in ipairs(options.file) do
  files[path] = {}
  for line in (command.read(path) .. "\n"):gmatch("(.-)\r?\n") do table.insert(files[path], line) end
end

-- Lines FIRST to LAST of a file, each with its place.
local function show(path, first, last)
  local shown = {}
  for i = math.max(first, 1), math.min(last, #files[path]) do shown[#shown + 1] = ("%s:%d: %s"):format(path, i, files[path][i]) end
  return shown
end

if options.file[1] then
  list[#list + 1] = {
    name = "search",
    description = "The lines of the files that hold most of the words.",
    parameters = parameters({ words = { type = "string", maxLength = 80 } }, { "words" }),
    call = function(input)
      local found = {}
      for order, path in ipairs(options.file) do
        for i, line in ipairs(files[path]) do
          local hits, low = 0, line:lower()
          for word in input.words:lower():gmatch("%w+") do hits = hits + (low:find(word, 1, true) and 1 or 0) end
          if hits > 0 then found[#found + 1] = { hits = hits, order = order, number = i, path = path } end
        end
      end
      table.sort(found, function(a, b)
        if a.hits ~= b.hits then return a.hits > b.hits end
        return a.order < b.order or (a.order == b.order and a.number < b.number)
      end)
      local shown = {}
      for i = 1, math.min(5, #found) do shown[i] = show(found[i].path, found[i].number, found[i].number)[1] end
      return shown[1] and table.concat(shown, "\n") or "nothing found"
    end }
  list[#list + 1] = {
    name = "read",
    description = "Twenty lines of a file, from a line on.",
    parameters = parameters({ file = { enum = options.file }, line = { type = "integer", minimum = 1, maximum = 1000000 } },
      { "file", "line" }),
    call = function(input)
      local shown = show(input.file, input.line, input.line + 19)
      return shown[1] and table.concat(shown, "\n") or ("%s has %d lines"):format(input.file, #files[input.file])
    end }
end

if options.tools then
  local compiled, why = load(command.read(options.tools), "@" .. options.tools, "t")
  if not compiled then command.fail(3, "%s", why) end
  local more = compiled()
  if type(more) ~= "table" then command.fail(3, "%s: expected a list of tools, got %s", options.tools, type(more)) end
  table.move(more, 1, #more, #list + 1, list)
end
local fine, described = pcall(tools.definitions, list)
if not fine then command.fail(3, "%s: %s", options.tools, (described:gsub("^[^\n]-:%d+: ", ""))) end

for _, tool in ipairs(list) do
  local call = tool.call
  function tool.call(input)
    local fine, result = command.pcall(function() return tools.encode(call(input)) end)
    if options.show then
      io.stderr:write(("%s %s -> %s\n"):format(tool.name, json.encode(input), fine and text.line(result) or "error: " .. tostring(result)))
    end
    if not fine then error(result, 0) end
    return result
  end
end

-- ---- The loop of a model that knows nothing of tools: every step is an object, a call or the answer

local function object(name, schema, other)
  local properties, required = { [name] = schema }, { name }
  if other then properties.arguments, required[2] = other, "arguments" end
  return parameters(properties, required)
end

local function work(model, task)
  local finish, forms, by_name = object("answer", { type = "string", minLength = 1 }), {}, {}
  for i, tool in ipairs(list) do
    forms[i] = object("tool", { const = tool.name }, tool.parameters or parameters({}))
    by_name[tool.name] = tool
  end
  forms[#forms + 1] = finish
  local either = { anyOf = forms }
  for _, schema in ipairs{ either, finish } do command.check(2, model, { json_schema = schema, max_tokens = options.max_tokens }) end
  local session = prompt.ask(model, model:session(), ([[%s

You may use these tools: %s
Write one JSON object: {"tool": name, "arguments": {...}} calls a tool, {"answer": text} ends the task.]]):format(task, described), "Step:")
  local made, again = {}, false -- calls; one made twice has told all that it can
  for step = 1, options.max_steps do
    local schema = (again or step == options.max_steps) and finish or either
    local said = json.decode((session:generate{ json_schema = schema, max_tokens = options.max_tokens,
      temperature = options.temperature, seed = options.seed + step - 1 }))
    if said.answer then return said.answer end
    local call = json.encode(said)
    made[call], again = true, made[call] or false
    local fine, result = command.pcall(by_name[said.tool].call, said.arguments)
    prompt.ask(model, session, ("%sResult of %s: %s%s"):format(prompt.chats(model) and "" or "\n", said.tool,
      fine and "" or "error: ", tostring(result)), "Step:")
  end
end

-- ----

local task = options.task == "-" and command.read("-") or options.task
local model = command.load(options.model, options)
if model:info().chat_format:find("^mistral%-v[237]") then
  local answer, report = command.try(prompt.fit, tools.run, model:session():user(task), list, { max_steps = options.max_steps,
    max_tokens = options.max_tokens, temperature = options.temperature, seed = options.seed })
  if report.stop_reason == "steps" or report.stop_reason == "malformed" then
    command.fail(1, "no answer in %d steps", report.steps)
  end
  command.write(text.trim(answer), "\n")
else
  command.write(command.try(prompt.fit, work, model, task), "\n")
end
