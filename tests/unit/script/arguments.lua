-- SPDX-License-Identifier: Apache-2.0
-- Wrong arguments: the message names the function, the argument, what was expected and what was found.
local gregale = require "gregale"
local support = require "support"
local raises, same = support.raises, support.same

assert(gregale.version:match("^%d+%.%d+%.%d+$"))
raises(function() gregale.configure(3) end, "gregale.configure", "a table", "number 3")
raises(function() gregale.configure{ thread = 1 } end, "gregale.configure", 'unknown option "thread"', "threads")
raises(function() gregale.configure{ threads = -1 } end, "threads", "a whole number from 0", "number -1")
raises(function() gregale.configure{ threads = 1.5 } end, "threads", "number 1.5")
raises(function() gregale.configure{ deterministic = 1 } end, "deterministic", "true or false")
gregale.configure{ threads = 2, deterministic = true }

raises(function() gregale.load() end, "gregale.load", "path")
raises(function() gregale.load(7) end, "gregale.load", "path", "number 7")
raises(function() gregale.load{} end, "gregale.load", "path", "a string", "nil")
raises(function() gregale.load{ "a\0b" } end, "path", "text without NUL")
raises(function() gregale.load{ "m.gguf", devcie = "cpu" } end, 'unknown option "devcie"', "device")
raises(function() gregale.load{ "m.gguf", sliding_window = true } end, "sliding_window", "a whole number or false", "true")
raises(function() gregale.load{ "m.gguf", sliding_window = "4" } end, "sliding_window", 'string "4"')
raises(function() gregale.load{ "m.gguf", cache_type = "f8" } end, "cache_type", '"q8_0"', 'string "f8"')
raises(function() gregale.load "/nonexistent/m.gguf" end, "arguments.lua:", "/nonexistent/m.gguf")
raises(function() support.breeze{ device = "abacus" } end, "abacus")
raises(function() gregale.configure{ threads = 1 } end, "running already")

local devices = gregale.devices()
assert(#devices >= 1)
for _, device in ipairs(devices) do
  assert(#device.name > 0 and #device.why > 0 and math.type(device.memory_bytes) == "integer")
end
assert(gregale.why():find("ref", 1, true))
assert(gregale.why{ json = true }:match("^{"))

local model = support.breeze{ context = 100 }
local info = model:info()
same(info.cache_type, "f16"); same(info.device, DEVICE); same(info.window_max, 64); same(#info.fingerprint, 32); same(info.chat_format, "")
raises(function() model.info() end, "bad argument #1", "gregale.model expected")
raises(function() model:tokenize(5) end, "model:tokenize", "text", "a string", "number 5")
raises(function() model:tokenize("a", { specials = true }) end, 'unknown option "specials"')
raises(function() model:detokenize{ 1, "x" } end, "model:detokenize", "tokens", 'string "x"')
raises(function() model:detokenize{ 1 << 30 } end, "vocabulary")
raises(function() model:detokenize(info.vocab) end, "tokens", "number " .. info.vocab)
raises(function() model:is_end("x") end, "model:is_end", "token")
raises(function() model:session{ context = 0 } end, "model:session", "context", "from 1")
raises(function() model:session{ encoder = "x" } end, "encoder", "a function or nil")
raises(function() model:session{ system = "x" } end, "model:session", "chat format")
raises(function() model:session{ system = 1 } end, "system", "number 1")
for _, text in ipairs{ "", "And God said, Let there be light", "\u{4e2d}\u{6587} \u{1F600}", ("a"):rep(5000) } do
  -- A SentencePiece vocabulary puts a space before the first word.
  same((model:detokenize(model:tokenize(text)):gsub("^ ", "")), text, "round trip")
end
same(#model:tokenize("", { special = true }) >= #model:tokenize(""), true)

local session = model:session()
raises(function() session:append() end, "session:append", "a string, a token or a list", "nothing")
raises(function() session:append{ 1, -1 } end, "session:append", "tokens", "number -1")
raises(function() session:append(info.vocab) end, "session:append", "vocabulary")
raises(function() session:append(("word "):rep(200)) end, "context of 100")
same(#session, 0, "nothing is appended when it does not fit")
raises(function() session:logits() end, "empty session")
raises(function() session:rewind(1) end, "session:rewind", "rewind to 1")
raises(function() session:rewind("x") end, "session:rewind", "count")
raises(function() session:user("hello") end, "session:user", "chat format")
raises(function() session:user() end, "session:user", "text", "nothing")
raises(function() session:drop_anchor(9) end, "no anchor at position 9")
raises(function() session:choose("x") end, "session:choose", "a list of strings")
raises(function() session:choose{} end, "1 to 10000", "got 0")
raises(function() session:choose{ 1 } end, "option", "number 1")
raises(function() session:score(1) end, "session:score", "text")
session:append("And")
raises(function() session:choose{ "a", "" } end, "at least one token")
local function generate(options) return function() session:generate(options) end end
raises(generate(5), "session:generate", "options", "a table")
raises(generate{ max_token = 5 }, 'unknown option "max_token"', "max_tokens")
raises(generate{ max_tokens = 0 }, "max_tokens", "from 1")
raises(generate{ max_tokens = 2^40 }, "max_tokens")
raises(generate{ temperature = -1 }, "temperature", "from 0")
raises(generate{ temperature = 0/0 }, "temperature")
raises(generate{ temperature = 1, sampler = "greedy" }, "temperature", "sampler")
raises(generate{ sampler = "magic(3)" }, "magic")
raises(generate{ sampler = "top-k(40" }, "session:generate")
raises(generate{ stop = 3 }, "stop", "a string or a list")
raises(generate{ stop = { "a", 3 } }, "stop", "a string", "number 3")
raises(generate{ stop = "" }, "stop", "not empty")
raises(generate{ stop = { "a\0b" } }, "stop", "without NUL")
raises(generate{ stop_tokens = "x" }, "stop_tokens", "a list of tokens")
raises(generate{ stop_tokens = { 1, -1 } }, "stop_tokens", "number -1")
raises(generate{ max_seconds = 0 }, "max_seconds", "from 0.001"); raises(generate{ max_seconds = "long" }, "max_seconds")
raises(generate{ choose = 1 }, "choose", "a function")
raises(generate{ choose = function() return -1 end }, "choose function", "returned token")
raises(generate{ choose = function() return "x" end }, "choose function", "returned token")
raises(generate{ choose = function() end }, "choose function", "returned token", "nil")
raises(function() gregale.parallel(1) end, "gregale.parallel", "a list of functions")
local begun = false
raises(function() gregale.parallel{ function() begun = true end, 2 } end, "gregale.parallel", "number 2")
assert(not begun, "before any branch has begun")
same(#session:generate{ max_tokens = 3, temperature = 0 } > 0, true, "still sound")
