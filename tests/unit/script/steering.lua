-- SPDX-License-Identifier: Apache-2.0
-- How an answer is steered: guesses, banned strings, healed prompts, guidance, biases, likely tokens.
local gregale = require "gregale"
local support = require "support"
local raises, same, near = support.raises, support.same, support.near

local model = support.breeze()
local verse = "In the beginning God created the heaven and the earth. In the beginning God created the"
local function fresh(text) return model:session():append(text or verse) end
local greedy = { max_tokens = 24, temperature = 0 }
local expected = fresh():generate(greedy)

-- Guesses change nothing but the number of steps.
local session = fresh()
local before = session:stats().steps
local text, info = session:generate{ max_tokens = 24, temperature = 0, guesses = 8 }
same(text, expected); assert(info.guessed >= info.guessed_right and info.guessed_right > 0)
assert(session:stats().steps - before < 24, "several tokens a step")
local draft = support.breeze():session()
same(fresh():generate{ max_tokens = 24, temperature = 0, draft = draft }, expected)
raises(function() fresh():generate{ guesses = 4, choose = function() return 1 end } end, "guesses")
raises(function() session:generate{ draft = session } end, "cannot guess for itself")

-- Banned strings never come, in any piece.
local pieces = {}
for piece in fresh():stream{ max_tokens = 40, seed = 3, banned = { "the", "\n" } } do pieces[#pieces + 1] = piece end
assert(not table.concat(pieces):find("the", 1, true)); assert(not table.concat(pieces):find("\n", 1, true))
raises(function() fresh():generate{ banned = { "" } } end, "banned", "not empty")

-- A prompt that ends within a word.
local healed = fresh("In the beginning God created the hea"):generate{ max_tokens = 3, temperature = 0, heal = true }
same(healed:sub(1, 3), "ven")

-- Guidance of 1 is none; another session is asked for.
same(fresh():generate{ max_tokens = 24, temperature = 0, guide = fresh("And"), guidance = 1 }, expected)
raises(function() fresh():generate{ guide = model:session() } end, "empty")
raises(function() fresh():generate{ guide = 7 } end, "guide", "session")

-- Biases by token and by text, in front of whatever the chain is.
local _, plain = fresh():generate(greedy)
local other = fresh():generate{ max_tokens = 24, temperature = 0, logit_bias = { [plain.tokens[1]] = -math.huge } }
assert(other ~= expected)
assert(fresh():generate{ max_tokens = 8, temperature = 0, logit_bias = { [","] = 1000 } }:find(",,,,", 1, true))
local most = {}
for token = 0, model:info().vocab - 1 do most[token] = -math.huge end
for token = 600, 605 do most[token] = 0 end
for _, token in ipairs(select(2, fresh():generate{ max_tokens = 24, seed = 1, logit_bias = most }).tokens) do
  assert(token >= 600 and token <= 605, "any number of biases")
end
raises(function() fresh():generate{ logit_bias = { [model:info().vocab] = 1 } } end, "logit_bias", "from 0 to")
raises(function() fresh():generate{ logit_bias = { ["more than one token"] = 1 } } end, "logit_bias", "one token")
raises(function() fresh():generate{ logit_bias = { {} } } end, "logit_bias")

-- The likeliest tokens beside each chosen one.
_, info = fresh():generate{ max_tokens = 5, temperature = 0, top = 4 }
same(#info.top, 5)
for i, list in ipairs(info.top) do
  same(#list, 4); same(list[1].token, info.tokens[i]); near(list[1].log_probability, info.log_probabilities[i], 1e-9)
end
raises(function() fresh():generate{ top = 65 } end, "top")
