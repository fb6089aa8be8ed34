-- SPDX-License-Identifier: Apache-2.0
-- Answers under a schema, an expression, a grammar or a list; schemas as tables; what is refused.
local gregale = require "gregale"
local support = require "support"
local raises, same = support.raises, support.same

local model = support.model()
local function fresh() return model:session():append("And the king said") end
local hot = { max_tokens = 120, sampler = "temperature(2)" }
local function generate(options, seed)
  for key, value in pairs(hot) do options[key] = options[key] or value end
  options.seed = seed or 1
  return fresh():generate(options)
end

-- Text and table say the same; a table's properties come in the order of `required`, then of the alphabet.
local schema = {
  type = "object",
  properties = { zeta = { type = "integer" }, alpha = { enum = { "x", gregale.null } }, mid = { const = 1.5 }, beta = { type = "boolean" } },
  required = { "zeta", "mid", "alpha" },
}
local text = '{"properties":{"zeta":{"type":"integer"},"mid":{"const":1.5},"alpha":{"enum":["x",null]},' ..
             '"beta":{"type":"boolean"}},"required":["zeta","mid","alpha"],"type":"object"}'
for seed = 1, 5 do
  local answer, info = generate({ json_schema = schema }, seed)
  same(answer, generate({ json_schema = text }, seed))
  same(info.stop_reason, "end")
  assert(answer:match('^{%s*"zeta": ?%-?%d+,%s*"mid": ?1%.5,%s*"alpha": ?["nulx]+,?.*}$'), answer)
  same(select(2, answer:gsub("%b{}", "")), 1)
end

-- Empty tables are objects, but lists where a list belongs; nested ones too.
for seed = 1, 3 do
  local answer = generate({ json_schema = { properties = { a = { items = {}, maxItems = 0 } }, required = { "a" }, additionalProperties = false } }, seed)
  assert(answer:match('^{%s*"a": ?%[%s*%]%s*}$'), answer)
  assert(generate({ json_schema = { type = "object", properties = {}, required = {}, maxProperties = 0 } }, seed):match("^{%s*}$"))
end

for seed = 1, 5 do
  local short = generate({ regex = "(ab|c){2,4}d?" }, seed):gsub("ab", "c")
  assert(short:match("^cc+d?$") and #short <= 5, short)
  local nested = generate({ grammar = 'root ::= "(" root ")" | [a-c]+', max_tokens = 30 }, seed)
  same(#nested:match("^%(*"), #nested:match("%)*$"))
  local one = generate({ one_of = { "yes", "no", "may\"be" } }, seed)
  assert(one == "yes" or one == "no" or one == 'may"be', one)
end

-- Pieces of a stream are the whole; max_tokens leaves room to close what is open.
for limit = 8, 30, 3 do
  local pieces = {}
  for piece in fresh():stream{ json_schema = { type = "array", items = { type = "string" } }, max_tokens = limit, seed = limit, sampler = "temperature(2)" } do
    pieces[#pieces + 1] = piece
  end
  local all = table.concat(pieces)
  assert(all:match("^%[.*%]$"), all)
end

-- Branches share one compiled grammar and answer as they do alone.
local alone, together = {}, {}
for i = 1, 4 do alone[i] = generate({ json_schema = schema }, i) end
together = gregale.map({ 1, 2, 3, 4 }, function(i) return (generate({ json_schema = schema }, i)) end)
for i = 1, 4 do same(together[i], alone[i]) end

local function refused(options, ...)
  local all = { ... }
  raises(function() fresh():generate(options) end, "session:generate", table.unpack(all))
end
refused({ json_schema = { type = "object", properties = { a = { ["not"] = {} } } } }, "/properties/a/not", "not supported")
refused({ json_schema = "{" }, "line 1, column")
refused({ json_schema = 5 }, "json_schema: expected a table or a string, got number 5")
refused({ json_schema = { minimum = print } }, "json_schema: expected values that JSON has")
refused({ json_schema = { minimum = 0 / 0 } }, "numbers that JSON has")
refused({ json_schema = { 1, a = 2 } }, "expected a list, or a table of named fields")
local round = {}
round.items = round
refused({ json_schema = round }, "nested more than")
refused({ regex = "(" }, "regular expression, character 1")
refused({ regex = {} }, "regex: expected a string")
refused({ grammar = "root ::= x" }, "line 1, column 10")
refused({ one_of = "yes" }, "one_of: expected a list of strings")
refused({ one_of = {} }, "choice: expected a list of texts")
refused({ regex = "a", grammar = "root ::= \"a\"" }, "grammar: expected none beside regex")
refused({ regex = "a", choose = function() return 1 end }, "choose")
refused({ regex = "a{99}", max_tokens = 5 }, "5 are left")
same(generate({ regex = "ab" }), "ab", "the session is sound afterwards")
