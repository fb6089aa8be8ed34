-- SPDX-License-Identifier: Apache-2.0
-- How far two files are apart on the first tokens of a text, from logits taken one token at a time: what
-- `gregale perplexity --against-model` is compared with. Usage: gregale script agreement.lua MODEL OTHER TEXT TOKENS
local gregale = require "gregale"
local file <close> = assert(io.open(arg[3]))
local text, count = file:read("a"), tonumber(arg[4])
local models = { gregale.load{ arg[1] }, gregale.load{ arg[2] } }
local tokens = models[1]:tokenize(text, { special = true })
local sessions = { models[1]:session(), models[2]:session() }

local function probabilities(session, vocab)
  local view, out = session:logits(), {}
  for t = 0, vocab - 1 do out[t] = math.exp(view:log_probability(t)) end
  return out, (view:argmax())
end

local vocab, divergence, gap, same = models[1]:info().vocab, 0, 0, 0
for i = 1, count - 1 do
  for s = 1, 2 do sessions[s]:append(tokens[i]) end
  local q, q_top = probabilities(sessions[1], vocab)
  local p, p_top = probabilities(sessions[2], vocab)
  for t = 0, vocab - 1 do divergence = divergence + p[t] * math.log(p[t] / q[t]) end
  gap = gap + math.log(p[tokens[i + 1]] / q[tokens[i + 1]])
  same = same + (p_top == q_top and 1 or 0)
end
print(string.format('{"ratio":%.9g,"mean_divergence":%.9g,"same_top":%.9g}', math.exp(gap / (count - 1)),
  divergence / (count - 1), same / (count - 1)))
