-- SPDX-License-Identifier: Apache-2.0
-- Beam search over forks: the likeliest continuations, where sampling finds likely ones. At every length the `width`
-- best unfinished continuations are kept, of all that continue those of the length before; the answers are the `n` best
-- finished ones by log-probability / length ^ length_penalty. The hypotheses of one length share a step of the engine,
-- and pages.
local gregale = require "gregale"
local argument = require "gregale.argument"
local beam = {}

local function fail(level, place, expected, got) argument.fail(level + 1, "beam.search: " .. place, expected, got) end

local function whole(options, name, default, low, high)
  local value = options[name]
  if value == nil then value = default end
  if math.type(value) ~= "integer" or value < low or value > high then
    fail(3, name, ("a whole number from %d to %d"):format(low, high), value)
  end
  return value
end

local known = { width = true, max_tokens = true, n = true, length_penalty = true }

local function check(session, options)
  if not argument.is_session(session) then fail(3, "session", "a session", session) end
  if options ~= nil and type(options) ~= "table" then fail(3, "options", "a table", options) end
  for name in pairs(options or {}) do
    if not known[name] then
      fail(3, tostring(name), "an option that exists (width, max_tokens, n, length_penalty)", options[name])
    end
  end
end

-- Inserts into a list sorted by `key`, best first, that holds at most `limit`; earlier ones come first among equals.
local function insert(list, item, key, limit)
  local at = #list + 1
  while at > 1 and item[key] > list[at - 1][key] do at = at - 1 end
  if at <= limit then table.insert(list, at, item) end
  list[limit + 1] = nil
end

local function extend(tokens, token)
  local longer = table.move(tokens, 1, #tokens, 1, {})
  longer[#longer + 1] = token
  return longer
end

-- How many tokens the session's context still takes, `most` at most.
local function room(session, most)
  local fork <close>, count = session:fork(), 0
  while count < most and pcall(fork.append, fork, 0) do count = count + 1 end
  return count
end

--- The `n` best continuations of `session`, which stays as it was (its turns are encoded).
-- `width` (4) hypotheses, each of at most `max_tokens` (32) tokens; a continuation ends with the model's end token, which
-- counts for its log-probability and length, or at that limit, or where the context is full. `length_penalty` 0 ranks by the sum of
-- log-probabilities, 1 by their mean.
-- Returns a list of {text=, tokens=, log_probability=, score=, ended=, session=}: the fork with the tokens (without the
-- end token) appended, as text: no turn is recorded. It may be shorter than `n` where so many were not found.
function beam.search(session, options)
  check(session, options)
  options = options or {}
  local width = whole(options, "width", 4, 1, 1000)
  local limit = whole(options, "max_tokens", 32, 1, 1 << 20)
  local n = whole(options, "n", 1, 1, 1000)
  local penalty = options.length_penalty or 0
  if type(penalty) ~= "number" or not (penalty >= 0 and penalty <= 10) then
    fail(2, "length_penalty", "a number from 0 to 10", penalty)
  end
  local model, root = session:model(), session:apply_turns():evaluate()
  limit = room(root, limit)
  local ends, vocab = {}, model:info().vocab
  for token = 0, vocab - 1 do ends[#ends + 1] = model:is_end(token) and token or nil end

  local finished, alive = {}, { { session = root:fork(), tokens = {}, log_probability = 0 } }
  local function finish(hypothesis, ended, length)
    hypothesis.ended, hypothesis.score = ended, hypothesis.log_probability / length ^ penalty
    insert(finished, hypothesis, "score", n)
  end
  if limit == 0 then finish(alive[1], false, 1) end
  -- What is unfinished can still reach this, being no likelier when longer; and no more than `n` are wanted.
  local function is_settled()
    return not alive[1] or
      #finished == n and alive[1].log_probability / limit ^ penalty <= finished[n].score
  end

  for length = 1, limit do
    if is_settled() then break end
    local best = {}
    local choices = gregale.map(alive, function(hypothesis) -- ends may stand before the `width` best that go on
      local logits = hypothesis.session:logits()
      local list = logits:top(math.min(vocab, width + #ends))
      for _, token in ipairs(ends) do
        table.insert(list, 1, { token = token, ends = true, log_probability = logits:log_probability(token) })
      end
      return list
    end, { concurrency = #alive })
    for i, hypothesis in ipairs(alive) do
      for _, choice in ipairs(choices[i]) do
        local longer = { parent = hypothesis, token = choice.token, tokens = hypothesis.tokens,
                         log_probability = hypothesis.log_probability + choice.log_probability }
        if choice.ends then
          finish(longer, true, length)
        elseif not model:is_end(choice.token) then
          insert(best, longer, "log_probability", width)
        end
      end
    end
    for _, hypothesis in ipairs(best) do
      hypothesis.tokens = extend(hypothesis.tokens, hypothesis.token)
      hypothesis.session = hypothesis.parent.session:fork():append(hypothesis.token)
      if length == limit then finish(hypothesis, false, length) end
    end
    for _, hypothesis in ipairs(finished) do
      hypothesis.session = hypothesis.session or hypothesis.parent.session:fork() -- the end is not part of it
    end
    for _, hypothesis in ipairs(alive) do hypothesis.session:close() end -- pages are not what the collector counts
    alive = best
  end

  local answers = {}
  for i, hypothesis in ipairs(finished) do
    answers[i] = { text = model:detokenize(hypothesis.tokens), tokens = hypothesis.tokens, score = hypothesis.score,
                   log_probability = hypothesis.log_probability, ended = hypothesis.ended, session = hypothesis.session }
  end
  return answers
end

return beam
