-- SPDX-License-Identifier: Apache-2.0
-- Objects outlive what they were made from, close in any order, and closed ones say so.
local gregale = require "gregale"
local support = require "support"
local raises, same = support.raises, support.same
local greedy = { max_tokens = 4, temperature = 0 }
local function collect() collectgarbage() collectgarbage() end

-- A session outlives its model's variable, a stream its session's.
local session
do
  local model = support.model()
  session = model:session():append("In the beginning")
end
collect()
local text = session:generate(greedy)
assert(#text > 0)
local stream = session:fork():stream(greedy)
collect()
assert(stream())
collect()
while stream() do collect() end
session = nil
collect()

-- Closing, by hand, twice, and by scope.
local model = support.model()
local kept
do
  local s <close> = model:session():append("And")
  kept = s
end
raises(function() kept:append("x") end, "session:append", "closed")
raises(function() kept:generate() end, "closed"); same(tostring(kept), "gregale.session (closed)")
kept:close()
local open = model:session():append("And")
model:close(); model:close()
raises(function() model:info() end, "model:info", "closed"); raises(function() model:session() end, "closed")
assert(#open:generate(greedy) > 0)

-- A session closed under its own stream: the stream keeps it alive.
model = support.model()
local doomed = model:session():append("And")
local running = doomed:stream{ max_tokens = 8, temperature = 0 }
running(); doomed:close()
local pieces = 0
while running() do pieces = pieces + 1 end
assert(pieces > 0)

-- Abandoned streams and views are collected while others run.
for _ = 1, 20 do
  local s = model:session():append("And")
  local abandoned = s:stream(greedy)
  abandoned()
  local view = model:session():append("So"):logits()
  assert(view[0])
end
collect()
local count = 0
local choosy = model:session():append("And"):generate{ max_tokens = 6, ignore_end = true, choose = function(logits)
  count = count + 1
  collect()
  local throwaway = model:session():append("x"):fork()
  throwaway:close()
  return (logits:argmax())
end }
same(count, 6); assert(#choosy > 0)

-- A finalizer may use the binding.
do
  local s = model:session():append("And")
  setmetatable({}, { __gc = function() s:append(" so"):close() end })
end
collect()
raises(function() getmetatable(model).__gc = nil end)
same(getmetatable(model), "gregale")
raises(function() local f = model.close; f({}) end, "gregale.model expected")
leftover = model:session():append("left for the state's end"):stream() -- closed by lua_close
leftover()
