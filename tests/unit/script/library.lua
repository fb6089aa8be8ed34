-- SPDX-License-Identifier: Apache-2.0
-- The modules of scripts/lib that a shell does not show whole: JSON, texts, arguments; and session:embed.
local gregale = require "gregale"
local json, text, command = require "gregale.json", require "gregale.text", require "gregale.command"
local support = require "support"
local raises, same, near = support.raises, support.same, support.near

-- JSON: what is read is written again, by name; what is none is refused, and where.
for _, written in ipairs{ '{"a":[1,-2.5,1e+300],"b":{},"c":[],"d":null,"e":true,"f":false}', '"\\"\\\\\\n\\u0001é😀"', "[[[]]]", "0" } do
  same(json.encode(json.decode(written)), written)
end
same(json.decode('"\\u00e9\\ud83d\\ude00\\/"'), "é😀/"); same(json.decode(" \n1 "), 1); same(json.decode("null"), gregale.null)
same(math.type(json.decode("3")), "integer"); same(json.decode("0.1"), 0.1); same(json.encode(0.1), "0.1"); same(json.decode(json.encode(1 / 3)), 1 / 3)
same(json.encode{ b = 1, a = { json.list() } }, '{"a":[[]],"b":1}')
same(json.encode(json.list{}), "[]"); same(json.encode(json.list{ "a", 2 }), '["a",2]')
for _, bad in ipairs{ "", "{", '{"a"}', "[1,]", "01", "1 2", '"a', '"\\x"', '"\\ud800"', '"\n"', "nul", "-", "[1 2]", ("["):rep(5000) } do
  raises(function() json.decode(bad) end, "JSON, line ", "column")
end
raises(function() json.encode(0 / 0) end, "numbers that JSON has"); raises(function() json.encode{ 1, print } end, "function")
raises(function() json.encode{ [1.5] = 2 } end, "named fields"); local loop = {} loop[1] = loop; raises(function() json.encode(loop) end, "nested")
same(json.compact('{ "a b" : [ 1,\n 2 ], "c\\" }": "\\\\" }'), '{"a b":[1,2],"c\\" }":"\\\\"}')

-- Parts are the text again, none longer than was wanted, and paragraphs stay whole where they fit.
local model = support.model()
local long = ("And the king went up. He spoke to them.\n"):rep(20) .. "\n" .. ("word "):rep(60) .. "\n\nThe end."
for _, size in ipairs{ 12, 40, 100, 100000 } do
  local parts = text.parts(model, long, size)
  same(table.concat(parts), long)
  for i, part in ipairs(parts) do assert(#model:tokenize(part) <= size, "part " .. i .. " of " .. size) end
  assert(#parts >= #model:tokenize(long) // size)
end
-- Words are cut where they are too long, characters never.
local word = ("wörd€"):rep(50)
for _, size in ipairs{ 1, 7, 40 } do
  local parts = text.parts(model, "A " .. word .. " z.", size)
  same(table.concat(parts), "A " .. word .. " z.")
  for i, part in ipairs(parts) do
    assert(#model:tokenize(part) <= size or utf8.len(part) == 1, "part " .. i .. " of " .. size)
    assert(utf8.len(part), "half a character")
  end
end
same(#text.parts(model, "", 10), 0); same(#text.parts(model, "one.\n\ntwo.", #model:tokenize("one.\n\ntwo.") - 1), 2)
same(text.line("  a \n\n b "), "a b"); same(table.concat(text.list(" a, b c ,,d"), "|"), "a|b c|d")

-- Arguments, as the usage text says.
local usage = [[
Usage: gregale script x.lua MODEL.gguf [FILE...] [OPTION...]
Does nothing.

  --max-tokens N    most tokens,
                    or so (default 7)
  --heat X          how hot (default 0.5)
  --name NAME       a name
  --all             all of it]]
local options = command.arguments(usage, { "m", "--max-tokens", "9", "a", "--all", "-", "--name=x=y", "--", "--heat" })
same(options.model, "m"); same(options.max_tokens, 9); same(options.heat, 0.5); same(options.name, "x=y"); same(options.all, true)
same(table.concat(options.file, "|"), "a|-|--heat")
options = command.arguments(usage, { "m" })
same(options.max_tokens, 7); same(math.type(options.max_tokens), "integer"); same(#options.file, 0); same(options.all, nil)

-- Embeddings: of text and of its tokens alike; behind a prefix others; the mean of one token is the last; the session stays.
local session = model:session():append("In the beginning")
local length, tokens = #session, select(3, session:score(" there was light"))
local mean, last = session:embed(" there was light"), session:embed(tokens, { pool = "last" })
same(#mean, model:info().dim); same(#session, length)
local again, first, fresh = session:embed(tokens), session:embed({ tokens[1] }), model:session():embed(tokens)
local apart, moved = 0, 0
for i in ipairs(mean) do
  near(again[i], mean[i], 1e-5); near(first[i], session:embed({ tokens[1] }, { pool = "last" })[i], 1e-5)
  apart, moved = apart + math.abs(mean[i] - last[i]), moved + math.abs(fresh[i] - mean[i])
end
assert(apart > 0.1 and moved > 0.1)
raises(function() session:embed("x", { pool = "first" }) end, "session:embed", "pool", '"mean" or "last"')
raises(function() session:embed("") end, "no tokens"); raises(function() session:embed(7) end, "session:embed", "text")
raises(function() session:embed("x", { pol = "last" }) end, "pol"); raises(function() session:embed({ -1 }) end, "token")
