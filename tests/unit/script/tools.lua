-- SPDX-License-Identifier: Apache-2.0
-- Tool calls: the script plays what a model would write, and finds the calls in the info and in the turns.
local gregale = require "gregale"
local support = require "support"
local raises, same = support.raises, support.same

local model = support.load(TOOL_MODEL, { chat_format = "mistral-v3" })
local tools = '[{"type": "function", "function": {"name": "clock", "parameters": {}}}]'

-- An answer of these words, ended.
local function play(session, text)
  local tokens = model:tokenize(text, { parse_control = true })
  tokens[#tokens + 1] = 2
  local i = 0
  return session:generate{ choose = function() i = i + 1 return tokens[i] end }
end

local arguments = '{"zone": "Malta", "at": [1, 2.5]}'
local calls = '[TOOL_CALLS] [{"name": "clock", "arguments": ' .. arguments .. ', "id": "abcdefghi"}, ' ..
              '{"name": "stop", "arguments": {}, "id": "123456789"}]'
local chat = model:session{ tools = tools }
chat:user("What time is it?")
local _, info = play(chat, calls)
same(#info.tool_calls, 2)
same(info.tool_calls[1].name, "clock"); same(info.tool_calls[1].arguments, arguments)
same(info.tool_calls[1].id, "abcdefghi")
same(info.tool_calls[2].name, "stop"); same(info.tool_calls[2].arguments, "{}")
local turns = chat:turns()
same(#turns, 2); same(turns[2].role, "assistant"); same(#turns[2].tool_calls, 2)
same(turns[2].tool_calls[1].arguments, arguments); same(turns[1].tool_calls, nil)

-- A fork has them too; dropping the turn drops them there, not in the info that was given.
local fork = chat:fork()
chat:keep_turns(1)
same(#chat:turns(), 1); same(fork:turns()[2].tool_calls[2].name, "stop"); same(info.tool_calls[2].name, "stop")

-- The results go back, and the next answer calls nothing.
fork:tool("12:00", { id = "abcdefghi", name = "clock" }):tool("stopped", { id = "123456789" })
local text, plain = play(fork, "It is noon.")
same(#plain.tool_calls, 0); same(text, "It is noon."); same(fork:turns()[5].tool_calls, nil)

-- Nobody offered tools, or what was written is no call: text.
local deaf = model:session()
deaf:user("What time is it?")
local _, none = play(deaf, calls)
same(#none.tool_calls, 0)
local broken = model:session{ tools = tools }
broken:user("What time is it?")
local _, failed = play(broken, "[TOOL_CALLS] [{")
same(#failed.tool_calls, 0); same(#broken:turns(), 2)
assert(failed.tool_error:find("not a JSON array", 1, true)); same(none.tool_error, nil); same(info.tool_error, nil)
same(plain.tool_error, nil)
broken:keep_turns(1)
same(select(2, play(broken, '[TOOL_CALLS] [{"name": "clock"}, {"arguments": {}}]')).tool_error,
  'tool call 2 of 2: expected an object with a "name"')

-- A turn that calls, written by the script, is encoded as one that the model wrote.
local written = model:session{ tools = tools }
written:user("What time is it?"):assistant("", { tool_calls = info.tool_calls }):tool("12:00", { id = "abcdefghi" }):apply_turns()
fork:keep_turns(2):tool("12:00", { id = "abcdefghi" }):apply_turns()
same(table.concat(written:tokens(), " "), table.concat(fork:tokens(), " "))
same(written:turns()[2].tool_calls[1].arguments, arguments)
local function calls(list) return function() written:assistant("", { tool_calls = list }) end end
raises(calls{}, "session:assistant", "tool_calls", "1 to 1000", "got 0")
raises(calls(5), "session:assistant", "tool_calls", "a list of calls", "number 5")
raises(calls{ "clock" }, "tool_calls", "tables with name", 'string "clock"')
raises(calls{ { name = 5 } }, "session:assistant", "name", "a string", "number 5")
raises(calls{ { arguments = "{}" } }, "names no function")
raises(calls{ { nmae = "clock" } }, "unknown option", "nmae")
same(#written:turns(), 3)

-- A session knows its model, and keeps it.
same(written:model():info().path, model:info().path)
same(written:model():tokenize("[TOOL_CALLS]", { parse_control = true })[1] ~= nil, true)

-- JSON in both directions.
local value = gregale.from_json('{"a": [1, 2.5, -3e2, true, false, null], "b": {"c": "x\\u00e9\\n\\ud83d\\ude00"}, "b2": {}, "a\\u00e9": 9223372036854775807}')
same(value.a[1], 1); same(math.type(value.a[1]), "integer"); same(value.a[2], 2.5); same(value.a[3], -300.0)
same(value.a[4], true); same(value.a[5], false); same(value.a[6], gregale.null); same(value.b.c, "xé\n😀")
same(next(value.b2), nil); same(value["aé"], math.maxinteger)
same(gregale.to_json(value), '{"a":[1,2.5,-300,true,false,null],"aé":9223372036854775807,"b":{"c":"xé\\n😀"},"b2":{}}')
same(gregale.to_json(gregale.from_json '{"a":[],"b":{},"c":[[]]}'), '{"a":[],"b":{},"c":[[]]}')
same(gregale.to_json{ ["\xff\0"] = "a\xc3(\xe2\x82\xac\xed\xa0\x80\"\\\xe2" }, '{"\u{fffd}\\u0000":"a\u{fffd}(€\u{fffd}\u{fffd}\u{fffd}\\"\\\\\u{fffd}"}')
same(gregale.from_json('"a"'), "a"); same(gregale.from_json(" 5 "), 5)
for text, where in pairs{ ["{"] = "line 1, column 1", ["[1,\n2"] = "line 2", [""] = "line 1", ["1 2"] = "line 1", ["[01]"] = "line 1",
                          ['"\\x"'] = "line 1", ["nul"] = "line 1", [("["):rep(5000)] = "depth" } do
  local nothing, message = gregale.from_json(text)
  same(nothing, nil); assert(message:find(where, 1, true), message)
end
raises(function() gregale.from_json(5) end, "gregale.from_json", "text", "a string", "number 5")
raises(function() gregale.to_json(print) end, "gregale.to_json", "value", "values that JSON has")
local before = gregale.clock()
assert(gregale.clock() >= before and math.type(before) == "float")
