-- SPDX-License-Identifier: Apache-2.0
-- generate and stream: pieces, stops, seeds, choose functions, errors in the middle, leaving early.
local gregale = require "gregale"
local support = require "support"
local raises, same = support.raises, support.same

local model = support.model()
local prompt = "And the king said unto the people,"
local function fresh() return model:session():append(prompt) end
local greedy = { max_tokens = 24, temperature = 0 }
local expected, info = fresh():generate(greedy)
same(info.generated_tokens, 24); same(info.stop_reason, "limit"); same(#info.tokens, 24); same(#info.log_probabilities, 24)
same(model:detokenize(info.tokens), expected, "the tokens are the text")
for _, value in ipairs(info.log_probabilities) do assert(value <= 0) end

-- The pieces of a stream are the text; the iterator can also be called by hand.
local pieces = {}
local stream = fresh():stream(greedy)
for piece in stream do pieces[#pieces + 1] = piece end
same(table.concat(pieces), expected); assert(#pieces > 5)
same(stream:info().generated_tokens, 24); same(stream:text(), expected); same(stream(), nil)
raises(function() gregale.load("x").y() end, "x")

-- Stop strings never show, wherever the pieces are cut.
local middle = expected:sub(20, 26)
local cut = expected:sub(1, expected:find(middle, 1, true) - 1)
local stopped, why = fresh():generate{ max_tokens = 24, temperature = 0, stop = middle }
same(stopped, cut); same(why.stop_reason, "text")
pieces = {}
for piece in fresh():stream{ max_tokens = 24, temperature = 0, stop = { "never there", middle } } do pieces[#pieces + 1] = piece end
same(table.concat(pieces), cut)

-- The same seed gives the same text; the seed used is told.
local one, used = fresh():generate{ max_tokens = 12, temperature = 1 }
same(fresh():generate{ max_tokens = 12, temperature = 1, seed = used.seed }, one, "the seed told")
local texts = {}
for seed = 1, 6 do texts[fresh():generate{ max_tokens = 12, temperature = 1.2, seed = seed }] = true end
assert(next(texts, next(texts)), "six seeds, one text")
assert(#fresh():generate{ max_tokens = 4, sampler = "top-k(5);temperature(0.5)" } > 0)

-- choose in place of the sampler: with argmax it is greedy; the view is of that very step.
local calls, kept = 0, nil
same(fresh():generate{ max_tokens = 24, choose = function(logits)
  calls = calls + 1
  if kept then same(kept:is_stale(), true, "last step's view") end
  kept = logits
  return (logits:argmax())
end }, expected)
same(calls, 24)

-- What choose raises arrives as it was raised, and the model is sound afterwards.
local thrown = { code = 7 }
local session = fresh()
local count = 0
local function fail() count = count + 1; if count > 3 then error(thrown) end return 5 end
local fine, caught = pcall(function() for _ in session:stream{ choose = fail } do end end)
same(fine, false); same(caught, thrown, "the error object")
same(#session >= #fresh() + 3, true, "what was chosen before stays")
same(fresh():generate(greedy), expected, "after an error in another stream")
same(#session:generate{ max_tokens = 4, temperature = 0 } > 0, true, "the session itself")
raises(function() fresh():generate{ choose = function() error("no idea") end } end, "generation.lua:", "no idea")
raises(function() fresh():generate{ choose = function() coroutine.yield() end } end, "yield")

-- The model cannot be run from inside choose, and says so.
local other = fresh()
for _, call in ipairs{ function() other:generate{ max_tokens = 1 } end, function() other:evaluate() end,
                       function() other:score("x") end, function() other:anchor() end,
                       function() gregale.parallel{ function() other:generate{ max_tokens = 1 } end } end } do
  raises(function() fresh():generate{ choose = function() call() return 1 end } end, "inside a choose function")
  other = fresh()
end

-- One answer a session at a time; leaving a loop early frees it.
local busy = fresh()
for _ in busy:stream(greedy) do
  raises(function() busy:generate(greedy) end, "generating already")
  raises(function() busy:rewind(0) end, "generating")
  raises(function() busy:append("x") end, "generating")
  break
end
same(#busy:generate{ max_tokens = 3, temperature = 0 } > 0, true)
pcall(function() for _ in busy:stream(greedy) do error("out") end end)
same(#busy:generate{ max_tokens = 3, temperature = 0 } > 0, true)
local cancelled = fresh():stream(greedy)
cancelled(); cancelled:cancel()
while cancelled() do end
same(cancelled:info().stop_reason, "cancelled")

-- A full context ends an answer; what does not fit raises and appends nothing.
local small = model:session{ context = 40 }:append(prompt)
local _, full = small:generate{ ignore_end = true }
same(full.stop_reason, "context"); same(#small, 40)
raises(function() small:append(" more") end, "context of 40")
-- Two sessions over one stream each, in turn.
local a, b = fresh():stream(greedy), fresh():stream(greedy)
local left, right = {}, {}
while true do
  local x, y = a(), b()
  if not x and not y then break end
  left[#left + 1], right[#right + 1] = x, y
end
same(table.concat(left), expected); same(table.concat(right), expected)
