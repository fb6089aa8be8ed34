-- SPDX-License-Identifier: Apache-2.0
-- gregale.tools: the script plays what a model would write, in every format that has tools; where a call was malformed
-- the model itself writes the next, under the schema.
local gregale = require "gregale"
local tools = require "gregale.tools"
local support = require "support"
local raises, same = support.raises, support.same

local function load(format) return support.load(TOOL_MODEL, { chat_format = format }) end
local model = load "mistral-v3"

-- A choose function that writes the answers one after the other.
local function script(answers)
  local which, i, tokens = 0, 0, {}
  return function()
    if i == #tokens then
      which, i = which + 1, 0
      tokens = model:tokenize(assert(answers[which], "no answer is left"), { parse_control = true })
      tokens[#tokens + 1] = 2
    end
    i = i + 1
    return tokens[i]
  end
end

local running, most, asked = 0, 0, {}
local weather = {
  name = "weather", description = "The weather at a place.",
  parameters = { type = "object", properties = { place = { type = "string", maxLength = 8 }, days = { type = "integer", minimum = 1, maximum = 3 } },
                 required = { "place" }, additionalProperties = false },
  call = function(input)
    running = running + 1
    most = math.max(most, running)
    asked[#asked + 1] = input.place
    model:session():append("x"):generate{ max_tokens = 3, ignore_end = true } -- a tool may run the model itself
    running = running - 1
    if input.place == "Atlantis" then error("no such place") end
    return { place = input.place, celsius = 21.5 }
  end,
}
local clock = { name = "clock", call = function() return "12:00" end }
local kit = { weather, clock }

local function run(answers, options, on)
  local all = { choose = script(answers), max_tokens = 200 }
  for key, value in pairs(options or {}) do all[key] = value end
  local session = (on or model):session()
  session:user("What is the weather?")
  local text, report = tools.run(session, kit, all)
  return text, report, session
end
local function call(name, arguments, id)
  return ('{"name": "%s", "arguments": %s%s}'):format(name, arguments, id and (', "id": "%s"'):format(id) or "")
end

-- Definitions as models were trained on them.
same(tools.definitions{ clock }, '[{"type":"function","function":{"description":"","name":"clock","parameters":' ..
  '{"type":"object","additionalProperties":false,"properties":{}}}}]')

-- In every format: two calls side by side, their results in order, an answer.
local both = "[TOOL_CALLS] [" .. call("weather", '{"place": "Malta"}', "aaaaaaaaa") .. ", " ..
             call("weather", '{"place": "Gozo", "days": 2}', "bbbbbbbbb") .. "]"
for _, format in ipairs{ "mistral-v3", "mistral-v3-tekken", "mistral-v7", "mistral-v7-tekken" } do
  most, asked = 0, {}
  local text, report, session = run({ both, "It is warm." }, nil, load(format))
  same(text, "It is warm."); same(report.stop_reason, "end"); same(report.steps, 2); same(#report.malformed, 0)
  same(most, 2, "calls that ran at once"); same(table.concat(asked, " "), "Malta Gozo")
  same(#report.calls, 2); same(report.calls[2].name, "weather"); same(report.calls[2].arguments.days, 2)
  same(report.calls[1].result, '{"celsius":21.5,"place":"Malta"}'); same(report.calls[1].id, "aaaaaaaaa")
  local turns = session:turns()
  same(#turns, 5); same(turns[2].tool_calls[2].id, "bbbbbbbbb"); same(turns[3].role, "tool")
  same(turns[4].text, '{"celsius":21.5,"place":"Gozo"}'); same(turns[5].text, "It is warm.")
  -- What the session holds is what the format makes of such a conversation.
  local again = session:model():session{ tools = tools.definitions(kit) }
  again:user("What is the weather?"):assistant("", { tool_calls = turns[2].tool_calls })
  again:tool(turns[3].text, { id = "aaaaaaaaa", name = "weather" }):tool(turns[4].text, { id = "bbbbbbbbb", name = "weather" })
  again:apply_turns()
  same(table.concat(again:tokens(), " "), table.concat(session:tokens(), " ", 1, #again))
end

-- Text in front of calls is kept where the format can say it.
local spoken = "Let me see." .. "[TOOL_CALLS] [" .. call("clock", "{}", "aaaaaaaaa") .. "]"
same(select(3, run({ spoken, "Noon." }, nil, load "mistral-v7")):turns()[2].text, "Let me see.")
same(select(3, run({ spoken, "Noon." })):turns()[2].text, "")

-- V2 has no ids and one result a turn: of two calls none is taken, the model is asked for one.
local text, report, session = run({ "[TOOL_CALLS] [" .. call("clock", "{}") .. "]", "Noon." }, nil, load "mistral-v2")
same(text, "Noon."); same(report.calls[1].result, "12:00"); same(#report.malformed, 0)
text, report = run({ both, "It is warm." }, { constrained = false, retries = 1 }, load "mistral-v2")
same(report.malformed[1], "expected one call, got 2"); same(text, "It is warm."); same(#report.calls, 0)

-- An id is made up where the model gave none; nothing is called where nothing is.
report = select(2, run{ "[TOOL_CALLS] [" .. call("clock", "{}") .. "]", "Noon." })
assert(report.calls[1].id:match("^%w%w%w%w%w%w%w%w%w$"), report.calls[1].id)
text, report = run{ "Sunny." }
same(text, "Sunny."); same(report.steps, 1); same(#report.calls, 0)

-- What a function raises goes to the model, without the place in the script.
text, report = run{ "[TOOL_CALLS] [" .. call("weather", '{"place": "Atlantis"}', "aaaaaaaaa") .. "]", "Lost." }
same(report.calls[1].result, '{"error":"no such place"}'); same(report.calls[1].error, "no such place"); same(text, "Lost.")

-- So does what a function returns and JSON cannot hold; the other results stay.
local cycle = {}
cycle[1] = cycle
for what, value in pairs{ ["got function"] = print, ["numbers that JSON has"] = 0 / 0, ["tables nested"] = cycle } do
  local session = model:session()
  session:user("What is the weather?")
  text, report = tools.run(session, { clock, { name = "odd", call = function() return { value } end } },
    { choose = script{ "[TOOL_CALLS] [" .. call("odd", "{}", "aaaaaaaaa") .. ", " .. call("clock", "{}", "bbbbbbbbb") .. "]", "Noon." } })
  same(text, "Noon."); same(#report.calls, 2); same(report.calls[1].name, "odd"); same(report.calls[2].result, "12:00")
  assert(report.calls[1].error:find(what, 1, true), report.calls[1].error)
  same(gregale.from_json(report.calls[1].result).error, report.calls[1].error); same(#session:turns(), 5)
end

-- Malformed calls are taken back; without the constraint the next attempt is as free as the first.
local good = "[TOOL_CALLS] [" .. call("weather", '{"place": "Malta"}', "aaaaaaaaa") .. "]"
for bad, why in pairs{
  ["[TOOL_CALLS] [{"] = "not a JSON array",
  ["[TOOL_CALLS] [" .. call("wether", "{}", "aaaaaaaaa") .. "]"] = "a function called wether: there is none",
  ["[TOOL_CALLS] [" .. call("weather", "{}", "aaaaaaaaa") .. "]"] = "arguments of weather: /place: expected a value, got {}",
  ["[TOOL_CALLS] [" .. call("weather", '{"place": 5}', "aaaaaaaaa") .. "]"] = "/place: expected string, got 5",
  ["[TOOL_CALLS] [" .. call("weather", '"Malta"', "aaaaaaaaa") .. "]"] = "expected an object",
  ["[TOOL_CALLS] [" .. call("weather", '{"place": "Malta", "days": 9}', "aaaaaaaaa") .. "]"] = "/days: expected at most 3, got 9",
  ["[TOOL_CALLS] [" .. call("weather", '{"place": "Malta", "day": 1}', "aaaaaaaaa") .. "]"] = "/day: expected nothing here, got 1",
  ["[" .. call("weather", '{"place": "Malta"}') .. "]"] = "without [TOOL_CALLS]",
  [call("weather", '{"place": "Malta"}')] = "without [TOOL_CALLS]",
} do
  text, report, session = run({ bad, good, "Warm." }, { constrained = false })
  same(#report.malformed, 1); assert(report.malformed[1]:find(why, 1, true), report.malformed[1])
  same(text, "Warm."); same(#report.calls, 1); same(#session:turns(), 4); same(report.steps, 2)
end
-- JSON that is no call is an answer.
same(run{ '{"celsius": 21}' }, '{"celsius": 21}'); same(run{ "[1, 2]" }, "[1, 2]")

-- Never right: the session ends before the answer that failed, and can go on.
text, report, session = run({ "[TOOL_CALLS] [{", "[TOOL_CALLS] x", "[TOOL_CALLS] [1]" }, { constrained = false })
same(report.stop_reason, "malformed"); same(#report.malformed, 3); same(#session:turns(), 1); same(report.steps, 1)
same(tools.run(session, kit, { choose = script{ "Well." } }), "Well.")

-- Under the schema the model's own next attempt is right, whatever it is made of.
for seed = 1, 6 do
  asked = {}
  text, report, session = run({ "[TOOL_CALLS] [{", "Warm." }, { seed = seed, sampler = "temperature(2)", max_tokens = 120, max_steps = 1 })
  same(#report.malformed, 1); same(report.stop_reason, "steps"); assert(#report.calls >= 1)
  for _, made in ipairs(report.calls) do
    assert(made.name == "clock" or type(made.arguments.place) == "string" and utf8.len(made.arguments.place) <= 8)
    assert(made.id:match("^%w+$") and #made.id == 9)
  end
  same(#session:turns(), 2 + #report.calls); same(#session:turns()[2].tool_calls, #report.calls)
  same(session:turns()[2].tool_calls[1].name, report.calls[1].name)
end
-- No room for a call: an error, and the session is as it was before the answer.
do
  local session = model:session()
  session:user("What is the weather?"):apply_turns()
  local last = session:tokens()[#session]
  raises(function() tools.run(session, kit, { choose = script{ "[TOOL_CALLS] [{" }, max_tokens = 20 }) end, "the shortest answer")
  session:apply_turns()
  same(#session:turns(), 1); same(session:tokens()[#session], last)
end
same(#select(2, run({ both, "Warm." }, { parallel = false, seed = 1, max_steps = 1 })).calls, 1)

-- The limit on steps leaves the results there, for a next run.
text, report, session = run({ good, good, "Warm." }, { max_steps = 2 })
same(report.stop_reason, "steps"); same(report.steps, 2); same(#report.calls, 2); same(#session:turns(), 5)
same(tools.run(session, kit, { choose = script{ "Warm." } }), "Warm.")

-- Branches run loops side by side, and answer as they do alone.
local texts = gregale.map({ "One.", "Two.", "Three." }, function(last) return (run{ both, good, last }) end)
same(table.concat(texts, " "), "One. Two. Three.")
-- An answer may be generated by a function of the script's own.
local pieces = {}
text = run({ good, "It is warm." }, { generate = function(session, options)
  local stream = session:stream(options)
  for piece in stream do pieces[#pieces + 1] = piece end
  return stream:text(), stream:info()
end })
same(text, "It is warm."); assert(table.concat(pieces):find("It is warm.", 1, true))

-- Wrong arguments, said where the script called.
local function refused(...)
  local arguments, expected = table.pack(...), {}
  local list, options = arguments[1], arguments[2]
  for i = 3, arguments.n do expected[#expected + 1] = arguments[i] end
  raises(function() tools.run(model:session(), list, options) end, "tool_loop.lua:", table.unpack(expected))
end
refused(nil, nil, "tools.run: tools: expected a list of tools, got nil")
refused({}, nil, "a list of tools, got table")
refused({ 5 }, nil, "tools[1]: expected a table, got number 5")
refused({ clock, { name = "a b", call = print } }, nil, 'tools[2].name: expected letters, digits, _ and -, got string "a b"')
refused({ clock, clock }, nil, "tools[2] (clock).name: expected a name of its own")
refused({ { name = "a" } }, nil, "tools[1] (a).call: expected a function, got nil")
refused({ { name = "a", call = print, description = 1 } }, nil, "tools[1] (a).description: expected a string, got number 1")
refused({ { name = "a", call = print, parameters = {} } }, nil, 'a schema with type = "object"')
refused({ { name = "a", call = print, parameters = { type = "object", properties = { b = { pattern = "x" } } } } }, nil,
  "tools[1] (a).parameters", "/properties/b/pattern: this keyword is not supported")
refused({ { name = "a", call = print, parameters = { type = "object", properties = { b = { type = "text" } } } } }, nil,
  '/properties/b/type: expected a type that JSON has, got string "text"')
refused(kit, 5, "options: expected a table, got number 5")
refused(kit, { max_steps = 0 }, "max_steps: expected a whole number from 1, got number 0")
refused(kit, { retries = "x" }, "retries: expected a whole number from 0")
refused(kit, { parallel = 1 }, "parallel: expected true or false")
refused(kit, { generate = 1 }, "generate: expected a function")
refused(kit, { json_schema = {} }, "json_schema: expected none where the model may call, got table")
refused(kit, { n = 2 }, "n: expected none where the model may call, got number 2")
refused(kit, { best_of = 2 }, "best_of: expected none where the model may call")
raises(function() tools.definitions{ 5 } end, "tool_loop.lua:", "tools.definitions: tools[1]: expected a table, got number 5")
raises(function() tools.run(model, nil) end, "tools.run: tools:")
raises(function() tools.run("x", kit) end, 'tools.run: session: expected a session, got string "x"')
raises(function() tools.run(model, kit) end, "tools.run: session: expected a session, got gregale.model")
raises(function() run({ "x" }, { nonsense = 1 }) end, "session:generate", "nonsense")
raises(function() run({ "x" }, nil, load "mistral-v1") end, "this format has no tools")
