-- SPDX-License-Identifier: Apache-2.0
-- Sessions saved and restored from a script.
local gregale = require "gregale"
local support = require "support"
local raises, same = support.raises, support.same

local model, another = support.model(), support.model{ page_tokens = 16 }
local path = os.tmpname()
local seeded = { max_tokens = 40, seed = 3, temperature = 0.9, ignore_end = true }

-- A text goes on.
local session = model:session{ context = 500 }:append("And the king said unto the people, go.")
session:generate{ max_tokens = 90, seed = 1, ignore_end = true } -- past the window of 64
same(session:save(path), session, "save returns the session")
local count = #session
local restored = another:restore(path)
same(table.concat(restored:tokens(), " "), table.concat(session:tokens(), " "))
local top = session:logits():top(3)
for i, entry in ipairs(restored:logits():top(3)) do same(entry.logit, top[i].logit) end
local text = session:generate(seeded)
same(restored:generate(seeded), text)
same(restored:fork():rewind(#restored - 3):generate(seeded), session:fork():rewind(#session - 3):generate(seeded))
same(#another:restore(path, { context = 200 }), count)
raises(function() another:restore(path, { context = 100 }) end, path, count .. " tokens", "100")

-- A conversation does, and a stream goes on where the script stopped reading it.
local function encode(turns)
  local lines = {}
  for i, turn in ipairs(turns) do lines[i] = turn.role .. ": " .. turn.text end
  return table.concat(lines, "\n") .. "\nassistant:"
end
local tools = support.load(TOOL_MODEL, { chat_format = "mistral-v3" })
local chat = tools:session()
chat:user("Who are you?")
local pieces = {}
for piece in chat:stream{ max_tokens = 30, seed = 5, sampler = "temperature(1.2);mirostat(5)", ignore_end = true } do
  pieces[#pieces + 1] = piece
  if #pieces == 7 then chat:save(path) end
end
local again, answer = tools:restore(path, { answer = true })
local rest = {}
for piece in answer do rest[#rest + 1] = piece end
same(table.concat(pieces, "", 1, 7) .. table.concat(rest), table.concat(pieces))
same(answer:info().generated_tokens, 30)
same(again:turns()[2].text, chat:turns()[2].text)
local cut = tools:restore(path) -- nobody waits for the answer
same(#cut:turns(), 2)
same(cut:turns()[2].text, table.concat(pieces, "", 1, 7))
cut:user("And now?"):generate{ max_tokens = 2 }
again:save(path)
local _, none = tools:restore(path, { answer = true })
same(none, nil)

-- What holds state of the script's own is refused by name; arguments are checked.
local hooked = model:session{ encoder = encode }
raises(function() hooked:save(path) end, "session:save", path, "chat encoder")
hooked:encoder(nil):save(path)
local choosing = model:session():append("a")
local stream = choosing:stream{ choose = function(view)
  raises(function() choosing:save(path) end, "choose")
  session:save(path) -- another one may be
  return 5
end }
same(type(stream()), "string"); stream:close()
same(#model:restore(path):tokens(), #session)
raises(function() session:save() end, "session:save", "path"); raises(function() session:save(5) end, "path")
raises(function() session:save("/nonexistent/folder/x") end, "/nonexistent/folder/x")
raises(function() model:restore() end, "model:restore", "path")
raises(function() model:restore(path, { contxt = 5 }) end, "contxt")
raises(function() model:restore("/nonexistent/x") end, "/nonexistent/x")
raises(function() tools:restore(path) end, path, "another model", model:info().fingerprint)
local file = io.open(path, "r+b"); file:seek("set", 100); file:write("?"); file:close()
raises(function() model:restore(path) end, path, "checksum")
session:close()
raises(function() session:save(path) end, "closed")
os.remove(path)
