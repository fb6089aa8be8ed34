-- SPDX-License-Identifier: Apache-2.0
-- Several answers at once: n and best_of over forks, and beam search beside searches that try everything.
local gregale = require "gregale"
local beam = require "gregale.beam"
local support = require "support"
local raises, same, near = support.raises, support.same, support.near

local model = support.model()
local function fresh(text) return model:session():append(text or "And the king said") end

-- ---- n and best_of
local session = fresh()
local before = #session
local sampled = { max_tokens = 8, temperature = 1, seed = 7 }
local list = session:generate{ n = 3, best_of = 6, max_tokens = 8, temperature = 1, seed = 7 }
same(#list, 3); same(#session, before)
local alone = {}
for i = 1, 6 do
  sampled.seed = 6 + i
  local text, info = fresh():generate(sampled)
  local sum = 0
  for _, x in ipairs(info.log_probabilities) do sum = sum + x end
  alone[i] = { text = text, score = sum / #info.log_probabilities, seed = info.seed }
end
table.sort(alone, function(a, b) return a.score > b.score end)
for i, answer in ipairs(list) do
  same(answer.text, alone[i].text, "answer " .. i); near(answer.score, alone[i].score, 1e-9)
  same(answer.info.seed, alone[i].seed); same(#answer.session, before + #answer.info.tokens)
end
same(#session:generate{ n = 2, max_tokens = 2 }, 2)
same(#session:generate{ best_of = 3, max_tokens = 2, temperature = 1 }, 1)
local steps = session:stats().steps
local inside = gregale.parallel{ function() return session:generate{ n = 2, max_tokens = 3, seed = 1 } end,
                                 function() return (fresh():generate{ max_tokens = 3, temperature = 0 }) end }
same(#inside[1], 2); same(session:stats().steps, steps, "the prefix is evaluated once")
raises(function() session:generate{ n = 0 } end, "session:generate", "n: expected", "from 1")
raises(function() session:generate{ n = 3, best_of = 2 } end, "session:generate", "n: expected", "to 2")
raises(function() session:generate{ n = 2, max_token = 3 } end, 'unknown option "max_token"')
raises(function() session:generate{ n = 2, seed = 1 << 53 } end, "seed")
raises(function() session:generate{ n = 2, draft = fresh() } end, "draft", "none beside n")
raises(function() session:stream{ n = 2 } end, 'unknown option "n"')
-- An error in one answer is that of the call.
raises(function() session:generate{ n = 2, choose = function() error("no choice") end } end, "no choice")
same(#session, before)

-- ---- Beam search

-- Every continuation of two tokens, and of one where it ends, by logits alone.
local vocab = model:info().vocab
local function everything()
  local all = {}
  local root = fresh():evaluate()
  local first = root:logits():top(vocab)
  local function add(tokens, log_probability)
    all[#all + 1] = { tokens = tokens, log_probability = log_probability, text = table.concat(tokens, " ") }
  end
  for _, one in ipairs(first) do
    if model:is_end(one.token) then
      add({}, one.log_probability)
    else
      for _, two in ipairs(root:fork():append(one.token):logits():top(vocab)) do
        add(model:is_end(two.token) and { one.token } or { one.token, two.token },
            one.log_probability + two.log_probability)
      end
    end
  end
  return all
end
local all = everything()
assert(#all > vocab * (vocab - 2))

-- As wide as the vocabulary nothing is left out, whatever the ranking.
local function compare(penalty)
  local function score(x)
    local ended = model:is_end(2) and #x.tokens < 2
    return x.log_probability / (#x.tokens + (ended and 1 or 0)) ^ penalty
  end
  table.sort(all, function(a, b) return score(a) > score(b) end)
  local found = beam.search(fresh(), { width = vocab, max_tokens = 2, n = 20, length_penalty = penalty })
  same(#found, 20)
  for i, answer in ipairs(found) do
    same(table.concat(answer.tokens, " "), all[i].text, "number " .. i .. " with a penalty of " .. penalty)
    near(answer.log_probability, all[i].log_probability, 1e-9); near(answer.score, score(all[i]), 1e-9)
    same(answer.ended, #answer.tokens < 2); same(#answer.session, before + #answer.tokens)
    same(answer.text, model:detokenize(answer.tokens))
  end
end
assert(model:is_end(2))
compare(0); compare(1)

-- Narrow beams leave out what falls behind: a search that evaluates each hypothesis from nothing agrees.
local function plain(width, limit, text)
  local start = fresh(text):tokens()
  local alive, finished = { { tokens = {}, sum = 0 } }, {}
  for length = 1, limit do
    local candidates = {}
    for _, h in ipairs(alive) do
      local logits = model:session():append(start):append(h.tokens):logits()
      for token = 0, vocab - 1 do
        local sum = h.sum + logits:log_probability(token)
        local tokens = table.move(h.tokens, 1, #h.tokens, 1, {})
        if model:is_end(token) then
          finished[#finished + 1] = { tokens = tokens, sum = sum }
        else
          tokens[#tokens + 1] = token
          candidates[#candidates + 1] = { tokens = tokens, sum = sum }
        end
      end
    end
    table.sort(candidates, function(a, b) return a.sum > b.sum end)
    alive = table.move(candidates, 1, width, 1, {})
  end
  table.move(alive, 1, #alive, #finished + 1, finished)
  table.sort(finished, function(a, b) return a.sum > b.sum end)
  return finished
end
assert(model:is_end(fresh("5L"):logits():top(2)[2].token), "where an end stands among the likeliest")
for _, case in ipairs{ { 1, 5 }, { 2, 6 }, { 3, 4 }, { 5, 3 }, { 2, 3, "5L" } } do
  local width, limit, start = table.unpack(case)
  local expected = plain(width, limit, start)
  for n = 1, 3 do
    local found = beam.search(fresh(start), { width = width, max_tokens = limit, n = n })
    for i = 1, n do
      same(table.concat(found[i].tokens, " "), table.concat(expected[i].tokens, " "), ("width %d, answer %d of %d"):format(width, i, n))
      near(found[i].log_probability, expected[i].sum, 1e-6)
    end
  end
end
-- A beam of one that does not end is the greedy answer; a branch may search; the fork goes on.
local _, greedy = fresh():generate{ max_tokens = 6, temperature = 0, ignore_end = true }
local found, one = gregale.parallel{ function() return beam.search(fresh(), { width = 1, max_tokens = 6, n = 7 }) end }[1]
same(#found, 7)
for _, answer in ipairs(found) do if not answer.ended then one = answer end end
same(table.concat(one.tokens, " "), table.concat(greedy.tokens, " "))
assert(#one.session:generate{ max_tokens = 3, ignore_end = true } > 0)

-- At the end of the context hypotheses are finished as at max_tokens, and what was found is there.
local function narrow() return model:session{ context = before + 4 }:append("And the king said") end
local expected = beam.search(fresh(), { width = 2, max_tokens = 4, n = 9 })
found, one = beam.search(narrow(), { width = 2, max_tokens = 32, n = 9 }), 0
same(#found, #expected)
for i, answer in ipairs(found) do
  one = one + (#answer.tokens == 4 and not answer.ended and 1 or 0)
  same(table.concat(answer.tokens, " "), table.concat(expected[i].tokens, " ")); same(answer.ended, expected[i].ended)
  near(answer.score, expected[i].score, 1e-9); same(#answer.session, before + #answer.tokens)
end
same(one, 2)
found = beam.search(model:session{ context = before }:append("And the king said"), { n = 2, length_penalty = 1 })
same(#found, 1); same(found[1].text, ""); same(found[1].score, 0); same(found[1].ended, false); same(#found[1].session, before)

raises(function() beam.search(7) end, "beam.search", "a session", "number")
raises(function() beam.search(fresh(), { widht = 2 }) end, "beam.search", "widht")
raises(function() beam.search(fresh(), { width = 0 }) end, "beams.lua:", "width", "from 1", "got number 0")
raises(function() beam.search(fresh(), { length_penalty = -1 }) end, "length_penalty", "from 0 to 10")
