-- SPDX-License-Identifier: Apache-2.0
-- How far two devices' logits are apart on a text, in the measure of a move's check: the largest difference over
-- the logits' standard deviation, at the worst of all tokens. docs/moving.md has the figures.
-- Usage: gregale script scripts/eval/apart.lua MODEL TEXT TOKENS FROM TO [CACHE_TYPE]
local gregale = require "gregale"
local path, text, wanted, from, to, cache_type = ...
wanted = math.tointeger(tonumber(wanted))
if not to or not wanted then error("usage: apart.lua MODEL TEXT TOKENS FROM TO [CACHE_TYPE]", 0) end
local model = gregale.load{ path, device = from, cache_type = cache_type or "f16" }
local file <close> = assert(io.open(text))
local tokens = model:tokenize(file:read("a"), { special = true })
local count = math.min(wanted, #tokens - 1)
local session = model:session{ context = count + 2 }:append(tokens[1]):evaluate()

local ready, at = false, 1
local results = gregale.parallel{
  function()
    while not ready do coroutine.yield() end
    session:generate{ raw = true, ignore_end = true, max_tokens = count, choose = function() at = at + 1 return tokens[at] end }
    session:evaluate()
  end,
  function()
    return session:move(to, { shadow = count, policy = "never", bound = 1e9, progress = function(info)
      ready = ready or info.stage == "shadow"
    end })
  end }
local info, usual = results[2], model:session():append(tokens[1]):evaluate():move(to, { policy = "never" }).bound
print(("%s, cache of %s, %s beside %s: %d tokens, %d with the same likeliest, %.3g at most; the bound is %.3g"):format(
  path:match("[^/]+$"), model:info().cache_type, to, from, info.compared, info.agreed, info.difference, usual))
