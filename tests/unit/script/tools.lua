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
