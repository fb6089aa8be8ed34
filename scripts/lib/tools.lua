-- SPDX-License-Identifier: Apache-2.0
-- Lua functions that a model may call. tools.run(session, tools, options) answers, runs what the answer calls, hands
-- the results back, and goes on until an answer calls nothing. docs/tools.md tells it with examples.
local gregale = require "gregale"
local argument = require "gregale.argument"
local schema = require "gregale.schema"
local tools = {}

local NOTHING = { type = "object", properties = {}, additionalProperties = false }
local CALLS_AT_ONCE = 16

-- Raised where the script called this module's function, whose checks call this.
local function fail(what, place, expected, got)
  argument.fail(4, ("tools.%s: %s"):format(what, place), expected, got)
end

-- ---- Definitions

-- Checks the list; returns it by name.
local function read_tools(what, list)
  if type(list) ~= "table" or #list == 0 then fail(what, "tools", "a list of tools", list) end
  local by_name = {}
  for i, tool in ipairs(list) do
    local place = ("tools[%d]"):format(i)
    if type(tool) ~= "table" then fail(what, place, "a table", tool) end
    if type(tool.name) ~= "string" or not tool.name:match("^[%w_-]+$") then
      fail(what, place .. ".name", "letters, digits, _ and -", tool.name)
    end
    place = ("tools[%d] (%s)"):format(i, tool.name)
    if by_name[tool.name] then fail(what, place .. ".name", "a name of its own", tool.name) end
    if type(tool.call) ~= "function" then fail(what, place .. ".call", "a function", tool.call) end
    if tool.description ~= nil and type(tool.description) ~= "string" then
      fail(what, place .. ".description", "a string", tool.description)
    end
    local parameters = tool.parameters or NOTHING
    if type(parameters) ~= "table" or parameters.type ~= "object" then
      fail(what, place .. ".parameters", 'a schema with type = "object"', parameters)
    end
    local refused = schema.refused(parameters)
    if refused then fail(what, place .. ".parameters", ("a schema that can be checked (%s)"):format(refused), parameters) end
    by_name[tool.name] = { call = tool.call, parameters = parameters }
  end
  return by_name
end

local function definitions(list)
  local functions = {}
  for i, tool in ipairs(list) do
    functions[i] = { type = "function", ["function"] = {
      name = tool.name, description = tool.description or "", parameters = tool.parameters or NOTHING } }
  end
  return gregale.to_json(functions)
end

-- The definitions as JSON, for session:tools.
function tools.definitions(list)
  read_tools("definitions", list)
  return definitions(list)
end

-- What a list of calls looks like, for an answer that has to be one.
local function calls_schema(list, most)
  local forms = {}
  for i, tool in ipairs(list) do
    forms[i] = { type = "object", additionalProperties = false, required = { "name", "arguments" },
                 properties = { name = { const = tool.name }, arguments = tool.parameters or NOTHING } }
  end
  return { type = "array", minItems = 1, maxItems = most, items = { anyOf = forms } }
end

-- ---- Options

local own = { max_steps = 8, retries = 2, concurrency = CALLS_AT_ONCE, parallel = true, constrained = true, generate = false }
local shut = { "json_schema", "regex", "grammar", "one_of", "raw", "n", "best_of" }

-- Those of the loop, with what they are by default; and the others, which are generate's.
local function read_options(session, options)
  local settings, generation = {}, {}
  if not argument.is_session(session) then fail("run", "session", "a session", session) end
  if options ~= nil and type(options) ~= "table" then fail("run", "options", "a table", options) end
  for name, value in pairs(own) do settings[name] = value end
  for name, value in pairs(options or {}) do
    if own[name] ~= nil then settings[name] = value else generation[name] = value end
  end
  for name, least in pairs{ max_steps = 1, retries = 0, concurrency = 1 } do
    if math.type(settings[name]) ~= "integer" or settings[name] < least then
      fail("run", name, "a whole number from " .. least, settings[name])
    end
  end
  for _, name in ipairs{ "parallel", "constrained" } do
    if type(settings[name]) ~= "boolean" then fail("run", name, "true or false", settings[name]) end
  end
  if settings.generate and type(settings.generate) ~= "function" then fail("run", "generate", "a function", settings.generate) end
  for _, name in ipairs(shut) do
    if generation[name] ~= nil then fail("run", name, "none where the model may call", generation[name]) end
  end
  settings.generate = settings.generate or function(session, options) return session:generate(options) end
  return settings, generation
end

-- ---- Reading what an answer calls

-- Whether the text is a call that was written without the token that says so.
local function is_call_as_text(run, text)
  local spelled = text:match("^%s*%[TOOL_CALLS%](.*)$")
  local value = gregale.from_json(spelled or text)
  local first = type(value) == "table" and (value[1] or value)
  return spelled ~= nil or (type(first) == "table" and run.tools[first.name] ~= nil and first.arguments ~= nil)
end

-- What is wrong with one call; sets `input`, its arguments as a table.
local function fault_of(run, call)
  local tool = run.tools[call.name]
  if not tool then return ("a function called %s: there is none"):format(call.name) end
  local input = gregale.from_json(call.arguments)
  local wrong = type(input) ~= "table" and "expected an object" or schema.check(input, tool.parameters)
  call.input = input
  return wrong and ("arguments of %s: %s"):format(call.name, wrong)
end

-- The calls of an answer, and what is wrong with them or nil.
local function read_calls(run, text, info)
  local calls = info.tool_calls
  if info.tool_error then return calls, info.tool_error end
  if #calls == 0 and is_call_as_text(run, text) then return calls, "a call without [TOOL_CALLS] before it" end
  if #calls > 1 and not run.settings.parallel then return calls, ("expected one call, got %d"):format(#calls) end
  for _, call in ipairs(calls) do
    local wrong = fault_of(run, call)
    if wrong then return calls, wrong end
  end
  return calls
end

-- Writes the turn anew: results name the call that they belong to, so each has an id; and text beside calls, which a
-- model may write, is something that only newer formats can say.
local function write_turn(run, before, text, calls)
  local plain = {}
  for i, call in ipairs(calls) do
    call.id = call.id or ("%04d%05d"):format(before % 10000, i) -- nine letters or digits, as Mistral's
    plain[i] = { name = call.name, arguments = call.arguments, id = call.id }
  end
  run.session:keep_turns(before):assistant(run.has_both and text or "", { tool_calls = plain })
end

-- ---- Answers

-- An answer that begins with the token for calls and is a list of them; its turn is written from what it says.
local function answer_with_calls(run, before)
  local session, options = run.session, {}
  for name, value in pairs(run.generation) do options[name] = value end
  options.choose, options.heal, options.stop, options.json_schema = nil, nil, nil, run.schema
  session:apply_turns():append(run.marker)
  local fine, text, info = pcall(session.generate, session, options)
  if not fine then
    session:keep_turns(before)
    error(text, 0)
  end
  local calls, wrong = gregale.from_json(text)
  if not calls then return text, info, nil, wrong end
  for _, call in ipairs(calls) do call.input, call.arguments = call.arguments, gregale.to_json(call.arguments) end
  write_turn(run, before, "", calls)
  return "", info, calls
end

local function answer_freely(run, before, attempt)
  local options = {}
  for name, value in pairs(run.generation) do options[name] = value end
  options.seed = options.seed and options.seed + attempt
  local text, info = run.settings.generate(run.session, options)
  local calls, wrong = read_calls(run, text, info)
  if not wrong and #calls > 0 then
    local turns = run.session:turns()
    text = turns[#turns].text -- what stands in front of the calls
    write_turn(run, before, text, calls)
  end
  return text, info, calls, wrong
end

-- The next answer: its text, its info, its calls; nil in their place when they were malformed to the end.
local function answer(run)
  local before, attempt = #run.session:turns(), 0
  local text, info, calls, wrong = answer_freely(run, before, 0)
  while wrong do
    table.insert(run.report.malformed, wrong)
    run.session:keep_turns(before)
    if attempt == run.settings.retries then return text, info, nil end
    attempt = attempt + 1
    if run.settings.constrained and run.marker then
      text, info, calls, wrong = answer_with_calls(run, before)
    else
      text, info, calls, wrong = answer_freely(run, before, attempt)
    end
  end
  return text, info, calls
end

-- ---- Calling

-- What the model gets of a tool's result: text as it is, anything else as JSON.
function tools.encode(result)
  if type(result) == "string" then return result end
  return gregale.to_json(result == nil and gregale.null or result)
end

-- Runs the calls side by side and hands their results back in order. What a function raises is its result, also when
-- it returned what JSON cannot hold.
local function call_all(run, calls)
  local results = gregale.map(calls, function(call) return tools.encode((run.tools[call.name].call(call.input))) end,
    { errors = "collect", concurrency = run.settings.concurrency })
  for i, call in ipairs(calls) do
    local failure = results.errors[i]
    local message = failure ~= nil and tostring(failure):gsub("^[^\n]-:%d+: ", "")
    local result = message and gregale.to_json{ error = message } or results[i]
    run.session:tool(result, { id = call.id, name = call.name })
    table.insert(run.report.calls, { step = run.report.steps, name = call.name, arguments = call.input, id = call.id,
                                     result = result, error = message or nil })
  end
end

-- Answers, calls, answers again. Returns the last answer's text and a report: `stop_reason` (that of the answer, or
-- "steps", "malformed"), `steps`, `calls`, `malformed`, `info`. Yields in branches of gregale.parallel.
function tools.run(session, list, options)
  local by_name = read_tools("run", list)
  local settings, generation = read_options(session, options)
  local model = session:model()
  local format = model:info().chat_format
  if format == "mistral-v2" then settings.parallel = false end -- it has one result a turn
  local marker = model:tokenize("[TOOL_CALLS]", { parse_control = true })
  local report = { steps = 0, calls = {}, malformed = {} }
  local run = { session = session, tools = by_name, settings = settings, generation = generation, report = report,
                has_both = format:find("^mistral%-v7") ~= nil, marker = #marker == 1 and marker[1] or nil,
                schema = calls_schema(list, settings.parallel and CALLS_AT_ONCE or 1) }
  session:tools(definitions(list))
  while true do
    report.steps = report.steps + 1
    local text, info, calls = answer(run)
    report.info = info
    report.stop_reason = not calls and "malformed" or #calls == 0 and info.stop_reason or "steps"
    if not calls or #calls == 0 then return text, report end
    call_all(run, calls)
    if report.steps == settings.max_steps then return text, report end
  end
end

return tools
