-- SPDX-License-Identifier: Apache-2.0
-- When memory is short: sixteen branches under a limit that holds a third of them all finish, with the text they have
-- without; and how a limit and a split are asked for.
local gregale = require "gregale"
local support = require "support"
local raises, same = support.raises, support.same

local BRANCHES = 16

-- Generates, evaluates and looks at logits; returns what came of it, and the sessions.
local function run(model)
  local functions, sessions = {}, {}
  for i = 1, BRANCHES do
    local s = model:session{ priority = i % 3 }
    sessions[i] = s
    functions[i] = function()
      s:append(("And the king said unto the people %d: "):format(i):rep(1 + i % 4))
      local text = s:generate{ max_tokens = 24, seed = i, ignore_end = true }
      s:append(" and"):evaluate()
      local fork <close> = s:fork()
      local token, logit = fork:append(" the"):logits():argmax()
      local more = s:generate{ max_tokens = 8, seed = i, ignore_end = true }
      return ("%s|%d %.17g|%s"):format(text, token, logit, more)
    end
  end
  return gregale.parallel(functions), sessions
end

local function sum(sessions, field)
  local total = 0
  for _, s in ipairs(sessions) do total = total + s:stats()[field] end
  return total
end

local free = support.model{ page_tokens = 16 }
local expected, calm = run(free)
same(sum(calm, "preemptions"), 0)
local limit = sum(calm, "cache_bytes") // 3
for _, s in ipairs(calm) do s:close() end

local tight = support.model{ page_tokens = 16, cache_limit = limit }
local found, pressed = run(tight)
for i = 1, BRANCHES do same(found[i], expected[i], "branch " .. i) end
assert(sum(pressed, "preemptions") > 0, "nobody had to wait")
assert(sum(pressed, "cache_bytes") <= limit, "the limit was passed")

-- One that does not fit alone says so, and the others go on.
local short = support.model{ page_tokens = 16, cache_limit = ("%dB"):format(limit // 20) }
local results = gregale.parallel{
  function() return select(2, pcall(function() short:session():append(("a b "):rep(200)):evaluate() end)) end,
  function() return short:session():append("a"):generate{ max_tokens = 4, ignore_end = true, seed = 1 } end }
assert(results[1]:find("session:evaluate", 1, true) and results[1]:find("limit", 1, true), results[1])
same(results[2], free:session():append("a"):generate{ max_tokens = 4, ignore_end = true, seed = 1 })

-- ---- How they are asked for
support.model{ cache_limit = "512M" }
raises(function() support.model{ cache_limit = "much" } end, "gregale.load", "cache_limit", "512M", "much")
raises(function() support.model{ cache_limit = 0 } end, "gregale.load", "cache_limit", "1")
raises(function() support.model{ cache_limit = 1.5 } end, "cache_limit", "number of bytes")
raises(function() support.model{ cache_limit = {} } end, "cache_limit", "table")
raises(function() support.model{ cache_bytes = 1 } end, "unknown option", "cache_limit")

local layers = free:info().layers
local split = gregale.load{ MODEL, split = ("ref:%d,far"):format(layers - 1) }
same(split:info().device, ("ref:%d,far:1"):format(layers - 1))
same(split:session():append("a"):generate{ max_tokens = 4, ignore_end = true, seed = 1 }, results[2])
local auto = gregale.load{ MODEL, split = "auto" }
assert(#auto:info().device > 0)
raises(function() gregale.load{ MODEL, split = "ref:1,far", device = "ref" } end, "gregale.load", "split", "device")
raises(function() gregale.load{ MODEL, split = "ref:1,ref:1" } end, "gregale.load", "twice")
raises(function() gregale.load{ MODEL, split = "ref:99,far" } end, "gregale.load", "the model has " .. layers)
