-- SPDX-License-Identifier: Apache-2.0
-- Forks, rewinds, anchors, views of logits, likelihoods, turns.
local gregale = require "gregale"
local support = require "support"
local raises, same, near = support.raises, support.same, support.near

local model = support.model()
local prompt = "And the king said unto the people,"
local greedy = { max_tokens = 12, temperature = 0 }

-- A fork goes on as its parent would have, and neither disturbs the other.
local session = model:session():append(prompt)
local fork = session:evaluate():fork()
local length = #session
local first = session:generate(greedy)
same(#fork, length, "the fork's length"); same(fork:generate(greedy), first, "the fork's answer")
same(table.concat(fork:tokens(), " "), table.concat(session:tokens(), " "))

-- Going back gives the same answer again: within the reserve, and behind what the window dropped.
same(session:can_rewind(length), true)
same(session:rewind(length):generate(greedy), first, "after a rewind")
session:rewind(length):generate{ max_tokens = 300, temperature = 0, ignore_end = true }
local stats = session:stats()
assert(stats.evicted_pages > 0 and stats.resident_positions < stats.positions and stats.cache_bytes < stats.full_bytes)
same(session:can_rewind(length), false, "beyond window and reserve")
same(session:rewind(length):generate(greedy), first, "after a replay")

-- An anchor keeps the place.
local anchored = model:session():append(prompt)
same(anchored:anchor(), length)
anchored:generate{ max_tokens = 300, temperature = 0, ignore_end = true }
local steps = anchored:stats().prefill_tokens
same(anchored:rewind(length):generate(greedy), first, "after an anchored rewind")
assert(anchored:stats().prefill_tokens - steps <= 1, "an anchored rewind evaluated the prompt again")
anchored:drop_anchor(length)
raises(function() anchored:drop_anchor(length) end, "no anchor")

-- Full pages are shared.
local long = model:session():append((prompt .. " "):rep(20)):evaluate()
local branch <close> = long:fork()
assert(branch:stats().shared_pages >= 1)

-- A view of logits reads without a copy and goes stale when the session goes on.
local viewed = model:session():append(prompt)
local view = viewed:logits()
same(#view, model:info().vocab)
local token, logit = view:argmax()
same(view[token], logit)
local top = view:top(5)
same(#top, 5); same(top[1].token, token); assert(top[1].logit >= top[2].logit)
near(top[1].log_probability, view:log_probability(token), 1e-9)
raises(function() return view[-1] end, "logits", "token"); raises(function() return view[#view] end, "token")
raises(function() return view.argmin end, "argmin"); raises(function() view[1] = 2 end)
raises(function() view:top(0) end, "count")
same(view:is_stale(), false)
viewed:append(token):evaluate()
same(view:is_stale(), true)
raises(function() return view[0] end, "stale"); raises(function() view:argmax() end, "stale")
raises(function() return #view end, "stale")
local closed = viewed:logits()
viewed:close()
raises(function() return closed[0] end, "closed")

-- Log-probabilities agree with the logits, and scoring leaves the session as it was.
local scored = model:session():append(prompt)
local before = #scored
local sum, each, tokens = scored:score(" Let the people go")
same(#scored, before); same(#each, #tokens)
local walk, total = model:session():append(prompt), 0
for i, t in ipairs(tokens) do
  near(walk:logits():log_probability(t), each[i], 1e-4, "token " .. i)
  total = total + each[i]
  walk:append(t)
end
near(sum, total, 1e-9)
near(scored:score(tokens), sum, 1e-6, "tokens in place of text")
local whole, parts = model:session():score("In the beginning")
assert(whole < 0 and (parts[1] ~= parts[1] or parts[1] < 0))

-- choose: the likeliest, its place, probabilities that sum to one.
local option, index, probabilities = scored:choose{ " spoons", " the", " xylophone" }
local options, best = { " spoons", " the", " xylophone" }, 1
for i = 1, 3 do if scored:score(options[i]) > scored:score(options[best]) then best = i end end
same(index, best); same(option, options[best])
near(probabilities[1] + probabilities[2] + probabilities[3], 1, 1e-9)
same(#scored, before)
scored:choose{ " the", append = true }
assert(#scored > before)

-- Turns through an encoder of the script's own; an error in it is the script's.
local function encode(turns)
  local lines = {}
  for i, turn in ipairs(turns) do lines[i] = turn.role .. ": " .. turn.text end
  return table.concat(lines, "\n") .. "\nassistant:"
end
local chat = model:session{ encoder = encode, system = "Be brief." }
chat:user("Who are you?")
local answer, info = chat:generate{ max_tokens = 6, temperature = 0 }
local turns = chat:turns()
same(#turns, 3); same(turns[1].role, "system"); same(turns[3].role, "assistant"); same(turns[3].text, answer)
same(info.generated_tokens, 6); same(info.stop_reason, "limit")
local copy = chat:fork()
chat:keep_turns(1); same(#chat:turns(), 1); same(#copy:turns(), 3)
copy:user("And then?"); assert(#copy:generate{ max_tokens = 3, temperature = 0 } > 0)
raises(function() chat:keep_turns(9) end, "there are 1 turns")
chat:encoder(function() error("no words") end):user("x")
raises(function() chat:generate() end, "no words")
chat:encoder(function() return 5 end)
raises(function() chat:generate() end, "returned text", "number 5")
chat:encoder(function() chat:close() return "x" end)
pcall(function() chat:generate{ max_tokens = 1 } end)
