-- SPDX-License-Identifier: Apache-2.0
-- session:move, model:move and gregale.on_device_event. ref and far give the same bits, so texts tell nothing.
local gregale = require "gregale"
local support = require "support"
local raises, same = support.raises, support.same

local model = support.model()
local other = DEVICE == "ref" and "far" or "ref"
local prompt = "And the king said unto the people,"
local greedy = { max_tokens = 24, temperature = 0, ignore_end = true }
local function fresh() return model:session():append(prompt) end
local expected = fresh():generate(greedy)

-- A session moves and goes on; others and new ones stay.
local session = fresh():evaluate()
same(session:device(), DEVICE)
local info = session:move(other)
same(info.stage, "done"); same(info.from, DEVICE); same(info.to, other)
same(info.compared, 1); same(info.agreed, 1); same(info.first_divergence, nil); same(info.progress, 1)
assert(info.pages > 0 and info.bytes > 0 and info.steps > 0 and info.pause_seconds > 0 and info.difference <= info.bound)
same(session:device(), other); same(fresh():device(), DEVICE); same(model:info().device, DEVICE)
same(session:generate(greedy), expected)
same(session:move(other).stage, "done", "a move to where it is")
same(session:move(DEVICE, { check = false }).compared, 0)
session:close()
raises(function() session:move(other) end, "session:move", "closed")
raises(function() session:device() end, "closed")

-- While it streams, in another branch.
local streaming, pieces, during, seen, finished = fresh(), {}, 0, {}, false
local results = gregale.parallel{
  function()
    for piece in streaming:stream(greedy) do
      pieces[#pieces + 1] = piece
      during = during + (finished and 0 or 1)
    end
    return table.concat(pieces)
  end,
  function()
    local how = streaming:move(other, { progress = function(now) seen[now.stage] = now.from .. now.to end })
    finished = true
    return how
  end,
  function() return fresh():generate(greedy) end }
same(results[1], expected); same(results[2].stage, "done"); same(results[3], expected)
assert(during > 0, "no piece came while it moved")
same(seen.prepare, DEVICE .. other); same(seen.done, DEVICE .. other)
same(streaming:device(), other)

-- In a coroutine of the script's own, and from a branch that cannot yield, it blocks.
local blocked = fresh():evaluate()
coroutine.wrap(function() blocked:move(other) end)()
same(blocked:device(), other)
gregale.parallel{ function()
  table.sort({ 2, 1 }, function(x, y) if blocked:device() == other then blocked:move(DEVICE) end return x < y end)
end, function() return fresh():generate(greedy) end }
same(blocked:device(), DEVICE)

-- progress cancels by false and by raising; nothing else it returns does.
local stays = fresh():evaluate()
raises(function() stays:move(other, { progress = function() return false end }) end, "session:move", "cancelled")
raises(function() stays:move(other, { progress = function() error("too slow") end }) end, "moves.lua:", "too slow")
local thrown = {}
same(select(2, pcall(stays.move, stays, other, { progress = function() error(thrown) end })), thrown)
same(stays:device(), DEVICE); same(stays:generate(greedy), expected)
stays:move(other, { progress = function() return nil end })
-- It may use the binding, the session that moves too.
local calls = 0
stays:move(DEVICE, { progress = function()
  calls = calls + 1
  if calls == 1 then same(#fresh():generate{ max_tokens = 2, temperature = 0 } > 0, true) end
end })
assert(calls > 1)
local closed = fresh():evaluate()
closed:move(other, { progress = function() closed:close() end })
raises(function() closed:device() end, "closed")

-- Arguments.
local wrong = fresh():evaluate()
raises(function() wrong:move() end, "session:move", "device", "a string", "nothing")
raises(function() wrong:move("warp") end, "session:move", "no device is called warp")
raises(function() wrong:move(other, 3) end, "options", "a table")
raises(function() wrong:move(other, { shadows = 3 }) end, 'unknown option "shadows"', "progress")
raises(function() wrong:move(other, { shadow = -1 }) end, "shadow", "a whole number from 0")
raises(function() wrong:move(other, { policy = "maybe" }) end, "policy", "if-equal, anyway or never", "'maybe'")
raises(function() wrong:move(other, { bound = -1 }) end, "bound", "from 0")
raises(function() wrong:move(other, { check = 1 }) end, "check", "true or false")
raises(function() wrong:move(other, { progress = 1 }) end, "progress", "a function", "number 1")
raises(function() model:move(other, { shadow = 4 }) end, "model:move", "one session")
raises(function() wrong:move(DEVICE .. ":100000") end, "the model has")
raises(function() fresh():generate{ choose = function() wrong:move(other) return 1 end } end, "inside a choose function")
same(wrong:device(), DEVICE)

-- A shadow compares while an answer is generated, then moves or not.
for policy, place in pairs{ ["if-equal"] = other, anyway = other, never = DEVICE } do
  local shadowed = fresh():evaluate()
  local both = gregale.parallel{
    function() return shadowed:generate(greedy) end,
    function() return shadowed:move(other, { shadow = 5, policy = policy }) end }
  same(both[1], expected); same(both[2].compared, 5); same(both[2].agreed, 5); same(both[2].first_divergence, nil)
  same(shadowed:device(), place, policy)
end
raises(function() fresh():evaluate():move(other, { shadow = 5 }) end, "session:move", "nothing is generated")

-- A model moves with its sessions, and new ones live there; forks go on sharing.
local moved = support.model()
local first = moved:session():append((prompt .. " "):rep(20)):evaluate()
local fork = first:fork()
same(moved:move(other).to, other)
same(moved:info().device, other); same(first:device(), other); same(fork:device(), other)
same(moved:session():append(prompt):generate(greedy), expected)
assert(first:stats().shared_pages > 0)
moved:close()
raises(function() moved:move(DEVICE) end, "model:move", "closed")

-- Two at once, and one that is closed while it goes on.
local twice = fresh():evaluate()
gregale.parallel{ function() twice:move(other) end, function() twice:move(other) end, function() model:move(other) end }
same(twice:device(), other)
local failed, message = pcall(gregale.parallel, { function() twice:move(DEVICE) end, function() error("enough", 0) end })
same(failed, false); same(message, "enough"); same(twice:device(), DEVICE, "an error ends its branch alone")
twice:move(other)
same(twice:generate(greedy), expected)

-- Devices that fail: told between steps, by whatever call stepped.
local events = {}
raises(function() gregale.on_device_event(5) end, "gregale.on_device_event", "a function or nil", "number 5")
raises(function() gregale.on_device_event() end, "a function or nil", "nothing")
gregale.on_device_event(function(event) events[#events + 1] = event end)
local function lost(run)
  local m <close> = support.model()
  local s <close> = m:session():append(prompt)
  events = {}
  plant(DEVICE, 0)
  local fine, what = pcall(run, s)
  cure()
  return s, fine, what
end
for i, run in ipairs{ function(s) return s:generate(greedy) end, function(s) s:evaluate() end, function(s) s:logits() end,
                      function(s) s:score(" so") end, function(s) s:anchor() end, function(s) s:choose{ " a", " the" } end,
                      function(s) for _ in s:stream{ max_tokens = 3 } do end end,
                      function(s) gregale.parallel{ function() s:logits() end, function() s:generate{ max_tokens = 2 } end } end } do
  local _, fine, what = lost(run)
  if not fine then error(what) end
  same(#events, 1, "events of call " .. i)
  same(events[1].kind, "lost"); same(events[1].device, DEVICE); same(events[1].message, "planted")
  same(events[1].sessions, 1, "sessions of call " .. i)
  assert(events[1].next and events[1].next ~= DEVICE)
end
-- A function that raises is raised by that call, once; closing the session in it is heard of.
gregale.on_device_event(function() error("heard") end)
lost(function(s)
  raises(function() s:evaluate() end, "moves.lua:", "heard")
  s:evaluate()
  assert(s:logits()[0])
end)
for _, call in ipairs{ "evaluate", "logits", "anchor" } do
  lost(function(s)
    gregale.on_device_event(function() s:close() end)
    pcall(s[call], s)
    raises(function() s:evaluate() end, "closed")
  end)
end
lost(function(s)
  gregale.on_device_event(function() s:close() end)
  raises(function() s:choose{ " a", " the" } end, "closed")
end)
gregale.on_device_event(nil)
local _, fine = lost(function(s) return s:generate(greedy) end)
same(fine, true); same(#events, 0)
