-- SPDX-License-Identifier: Apache-2.0
-- gregale.guard: nothing is shown before it was judged; what is caught is redacted, rewritten or stops the answer; the
-- session then holds what was shown. The script plays the model.
local gregale = require "gregale"
local guard = require "gregale.guard"
local tools = require "gregale.tools"
local support = require "support"
local raises, same = support.raises, support.same

local model = support.load(TOOL_MODEL, { chat_format = "mistral-v3" })

-- A choose function that writes this text; `written` is told how far it is.
local function script(text, written)
  local tokens, i = model:tokenize(text, { parse_control = true }), 0
  tokens[#tokens + 1] = 2
  return function()
    i = i + 1
    if written then written.tokens, written.done = i, i == #tokens end
    return tokens[i]
  end
end

local ANSWER = "Call me. My number is 555-1234, or 555-9999. Bye!\nNow or never."
local number = guard.pattern{ "%d%d%d%-%d%d%d%d", name = "number", with = "[number]" }

local function fresh()
  local session = model:session()
  session:user("Who are you?")
  return session
end
local function guarded(judges, options, text)
  local session = fresh()
  local all = { choose = script(text or ANSWER) }
  for key, value in pairs(options or {}) do all[key] = value end
  local shown, info = guard.generate(session, judges, all)
  return shown, info.guard, session, info
end
-- What the session holds is what another makes of the same turns.
local function holds(session, text)
  local turns = session:turns()
  same(#turns, text == "" and 1 or 2); same(turns[2] and turns[2].text or "", text)
  local other = fresh()
  if text ~= "" then other:assistant(text) end
  other:user("Next."):apply_turns()
  session:user("Next."):apply_turns()
  same(table.concat(session:tokens(), " "), table.concat(other:tokens(), " "))
end

-- Passed: the answer as it was, a sentence at a time.
local seen = {}
local function see(unit, context)
  seen[#seen + 1] = unit
  same(context.before, ANSWER:sub(1, #context.before)); same(ANSWER:sub(#context.before + 1, #context.before + #unit), unit)
end
local shown, report, session, info = guarded{ see }
same(shown, ANSWER); same(table.concat(seen, "|"), "Call me. |My number is 555-1234, or 555-9999. |Bye!\n|Now or never.")
same(report.units, 4); same(#report.caught, 0); same(report.stopped, false); same(info.stop_reason, "end")
assert(report.seconds >= report.first_seconds and report.judge_seconds["function"] >= 0)
holds(session, ANSWER)

-- Redacted: all that matches, nothing else.
shown, report, session = guarded{ number }
local redacted = "Call me. My number is [number], or [number]. Bye!\nNow or never."
same(shown, redacted); same(#report.caught, 1); same(report.caught[1].unit, 2); same(report.caught[1].action, "redact")
same(report.caught[1].before, "My number is 555-1234, or 555-9999. "); same(report.caught[1].judge, "number")
same(report.caught[1].reason, "%d%d%d%-%d%d%d%d")
holds(session, redacted)
same(guarded{ guard.pattern{ "%d+", "[Bb]ye" } }, "Call me. My number is [redacted]-[redacted], or [redacted]-[redacted]. [redacted]!\nNow or never.")
same(guarded{ guard.pattern{ "(%d+)%-(%d+)", with = "%2-%1" } }:match("%d+%-%d+"), "1234-555")

-- Rewritten by a function; later judges see what earlier ones made of a unit.
shown, report, session = guarded{ number, function(unit) return unit:upper() end, function(unit) assert(not unit:find("%l")) end }
same(shown, redacted:upper()); same(#report.caught, 5); holds(session, redacted:upper())

-- Stopped: what stood before is shown, the rest is never, and not generated either.
local written = {}
shown, report, session, info = guarded({ guard.pattern{ "555", action = "stop", with = "I must not say." } }, { choose = script(ANSWER, written) })
same(shown, "Call me. I must not say."); same(report.stopped, true); same(report.units, 2); same(info.stop_reason, "cancelled")
assert(not written.done and written.tokens < 50, "generated on after the stop")
holds(session, "Call me. I must not say.")
shown, report, session = guarded{ function() return false end }
same(shown, ""); same(report.stopped, true); holds(session, "")

-- Held back: while a unit is incomplete, nothing of it comes out, also where a match lies across tokens and pieces.
for unit, pieces in pairs{ sentence = 4, line = 2, paragraph = 1, answer = 1 } do
  local on, count = fresh(), 0
  written = {}
  local s = guard.stream(on, { number }, { choose = script(ANSWER, written), unit = unit })
  for piece in s do
    count = count + 1
    if unit == "answer" then assert(written.done) end
    assert(not piece:find("555", 1, true))
  end
  same(count, pieces, unit); same(s:text(), redacted); same(s:report().units, pieces); same(s:info().guard, s:report())
end
same(guarded({ number }, { unit = function(held) return #held >= 12 and 12 or nil end }):find("555", 1, true), 23, "a match across units of twelve bytes")

-- Left early: the session holds what was shown, not what was held or generated ahead.
session = fresh()
for piece in guard.stream(session, { number }, { choose = script(ANSWER) }) do same(piece, "Call me. ") break end
holds(session, "Call me. ")
-- A judge that raises: nothing of the unit is shown.
session = fresh()
local out = {}
raises(function()
  for piece in guard.stream(session, { function(unit) if unit:find("555") then error("broken judge") end end }, { choose = script(ANSWER) }) do
    out[#out + 1] = piece
  end
end, "broken judge")
same(table.concat(out), "Call me. "); holds(session, "Call me. ")
-- It has ended then, also for one who calls on.
session = fresh()
local broken = guard.stream(session, { function(unit) if unit:find("555") then error("broken judge", 0) end end }, { choose = script(ANSWER) })
same(broken(), "Call me. "); raises(broken, "broken judge"); same(broken(), nil); same(broken:text(), "Call me. ")
same(broken:info().guard, broken:report()); holds(session, "Call me. ")

-- Without a chat format: the tokens become what was shown.
local plain = support.model()
local base = plain:session():append("And the king said")
local length = #base
local text, details = guard.generate(base, { function(unit) return unit:gsub("%l", "X") end }, { max_tokens = 30, seed = 3, ignore_end = true, unit = "answer" })
same(details.generated_tokens, 30); assert(not text:find("%l"))
same(table.concat(base:tokens(), " "), table.concat(plain:session():append("And the king said"):append(text):tokens(), " "))
assert(#base > length)

-- A healed prompt, whose last token the answer chose again, is as it was, and behind it what was shown.
local words = support.breeze()
for _, with in ipairs{ "", "rth" } do
  base = words:session():append("In the beginning God created the hea")
  local before = base:tokens()
  text = guard.generate(base, { guard.pattern{ "^vens", action = "stop", with = with } }, { max_tokens = 4, temperature = 0, heal = true, unit = "answer" })
  same(text, with)
  local expected = words:session():append(before)
  if with ~= "" then expected:append(with) end
  same(table.concat(base:tokens(), " "), table.concat(expected:tokens(), " "))
end

-- A raw answer is none of the turns: there, too, the tokens become what was shown.
session = fresh()
session:apply_turns()
shown = guard.generate(session, { number }, { choose = script(ANSWER), raw = true })
same(shown, " " .. redacted); same(#session:turns(), 1)
local other = fresh()
other:apply_turns():append(shown)
same(table.concat(session:tokens(), " "), table.concat(other:tokens(), " "))

-- The classifier asks on a fork: the chances are those of a session with these turns, and little is evaluated for it.
local QUESTION = "Is that rude?"
local ask = { question = QUESTION, options = { "yes", "no" }, catch = "yes", with = "Sorry." }
local function classifier(changes)
  local options = {}
  for key, value in pairs(ask) do options[key] = value end
  for key, value in pairs(changes) do options[key] = value end
  return guard.classifier(options)
end
local by_hand = fresh()
by_hand:assistant("Call me. "):user(QUESTION)
local chance = select(3, by_hand:choose{ "yes", "no" })[1]
shown, report = guarded{ classifier{ threshold = chance * 0.98 } }
same(shown, "Sorry."); same(report.caught[1].reason, ("yes: %.0f %%"):format(100 * chance)); same(report.caught[1].judge, "classifier")
support.near(report.caught[1].chance, chance, chance * 0.01)
assert(report.judge_seconds.classifier > 0)
shown, report = guarded({ classifier{ threshold = chance * 1.02 } }, nil, "Call me.")
same(shown, "Call me."); same(#report.caught, 0)
same(guarded{ classifier{ threshold = 0, action = "redact" } }, "Sorry. Sorry. Sorry.\nSorry.")
same(guarded{ classifier{ threshold = 0, action = "rewrite", with = function(unit) return unit:upper():match("%S+") end } }, "CALL MY BYE!\nNOW")
-- On a session of its own, whose text says what to judge.
local judge = model:session()
judge:user("You judge manners."):assistant("Show me.")
local turns = #judge:turns()
other = judge:fork()
other:user("Call me. \n" .. QUESTION)
chance = select(3, other:choose{ "no", "yes" })[2]
shown, report = guarded{ guard.classifier{ session = judge, question = QUESTION, options = { "no", "yes" }, catch = "yes", threshold = chance * 0.98 } }
same(shown, ""); same(report.caught[1].reason, ("yes: %.0f %%"):format(100 * chance)); same(#judge:turns(), turns)
support.near(report.caught[1].chance, chance, chance * 0.01)
same(guarded{ classifier{ session = judge, question = "Rude: {text}?", threshold = 1.1 } }, ANSWER)
-- A fork of a long conversation evaluates the question, not the conversation.
local long = model:session()
long:user(("A long story. "):rep(40))
local evaluated, total
guard.generate(long, { function(unit, context)
  local fork <close> = context.session:fork()
  fork:assistant(context.before .. unit):user(QUESTION):evaluate()
  evaluated, total = fork:stats().prefill_tokens, #fork
end }, { choose = script("Well. I") })
assert(evaluated < 60 and total > 300, evaluated .. " of " .. total)

-- In branches: guarded answers side by side, with classifiers, are what they are alone.
local results = gregale.map({ 1, 2, 3 }, function() return (guarded{ number, classifier{ threshold = 1.1 } }) end)
for i = 1, 3 do same(results[i], redacted) end

-- A text that is there already, such as a user's.
same(guard.judge(nil, { number }, "Call 555-1234."), "Call [number].")
local nothing, stops = guard.judge(nil, { guard.pattern{ "555", action = "stop" } }, "Call 555-1234.")
same(nothing, nil); same(stops.stopped, true); same(#stops.caught, 1)
same(guard.judge(fresh(), { classifier{ threshold = 1.1 } }, "Hello."), "Hello.")

-- Around a loop over tools: calls pass when nothing is caught; those of a changed answer are none.
local clock = { name = "clock", call = function() return "12:00" end }
local CALL = '[TOOL_CALLS] [{"name": "clock", "arguments": {}, "id": "abcdefghi"}]'
local function loop(judges, texts)
  local which, on = 0, fresh()
  return tools.run(on, { clock }, { generate = function(s)
    which = which + 1
    return guard.generate(s, judges, { choose = script(texts[which]) })
  end })
end
local final, steps = loop({ number }, { CALL, "Noon. 555-1234" })
same(final, "Noon. [number]"); same(#steps.calls, 1)
final, steps = loop({ guard.pattern{ "clock", action = "stop", with = "No." } }, { CALL })
same(final, "No."); same(#steps.calls, 0); same(steps.info.guard.stopped, true)

assert(guard.enforcement:find("^Always assist with care, respect, and truth%.") and guard.enforcement:find("fairness and positivity%.$"))
same(model:session{ system = guard.enforcement }:turns()[1].text, guard.enforcement)

-- Wrong arguments.
local function refused(call, ...) raises(call, "guards.lua:", ...) end
refused(function() guard.pattern(5) end, "guard.pattern: options: expected a table, got number 5")
refused(function() guard.pattern{} end, "guard.pattern: patterns: expected at least one")
refused(function() guard.pattern{ "[a" } end, 'guard.pattern: patterns[1]: expected a Lua pattern, got string "[a"')
-- All of a pattern is looked at, not what an empty text comes to.
for _, pattern in ipairs{ " the[", "a[^]", "secret%", "a(b", "a)", "x%f", "x%bx", "a%1", "(a%1)", ("(a)"):rep(33) } do
  refused(function() guard.pattern{ "a", pattern } end, "guard.pattern: patterns[2]: expected a Lua pattern, got string")
end
for _, pattern in ipairs{ "", "^", "%%", "[]]", "[^]%]]", "[%a_]-$", "()a", "(a(b)%2)%1", "%f[%w]a", "%b()", "a]", "[[]", ("(a)"):rep(32) } do
  guard.pattern{ pattern }
end
for _, with in ipairs{ "100%", "%2", "%x" } do
  refused(function() guard.pattern{ "(%d)", with = with } end, "guard.pattern: with: expected what string.gsub takes (%% for a %), got string")
end
guard.pattern{ "a", with = "%1 %0 100%%" }
guard.pattern{ "a", with = "100%", action = "stop" }
refused(function() guard.pattern{ "a", action = "drop" } end, 'guard.pattern: action: expected redact or stop, got string "drop"')
refused(function() guard.pattern{ "a", what = 1 } end, "guard.pattern: options: expected one of name, action, with", '"what"')
refused(function() guard.pattern{ "a", with = 5 } end, "guard.pattern: with: expected a string or a function, got number 5")
refused(function() guard.classifier{} end, "guard.classifier: question: expected a string, got nil")
refused(function() classifier{ options = { "yes" } } end, "guard.classifier: options: expected a list of two answers or more")
refused(function() classifier{ catch = "maybe" } end, "guard.classifier: catch: expected one of the options", "maybe")
refused(function() classifier{ action = "drop" } end, "guard.classifier: action: expected stop, redact or rewrite")
refused(function() classifier{ threshold = "x" } end, "guard.classifier: threshold: expected a number")
refused(function() classifier{ session = "s" } end, 'guard.classifier: session: expected a session, got string "s"')
refused(function() classifier{ with = print } end, "guard.classifier: with: expected a string, got function")
refused(function() guard.generate(fresh(), nil) end, "guard.generate: judges: expected a list of judges, got nil")
refused(function() guard.stream(fresh(), { 5 }) end, "guard.stream: judges[1]: expected a judge or a function, got number 5")
refused(function() guard.stream("x", { number }) end, "guard.stream: session: expected a session")
refused(function() guard.generate(model, { number }) end, "guard.generate: session: expected a session, got gregale.model")
refused(function() guard.stream(fresh(), { number }, 5) end, "guard.stream: options: expected a table, got number 5")
refused(function() guard.stream(fresh(), { number }, { unit = "word" }) end, "guard.stream: unit: expected sentence, line", '"word"')
refused(function() guard.judge(nil, { number }, 5) end, "guard.judge: text: expected a string")
for _, length in ipairs{ 0, -1, 1.5, "x" } do
  raises(function() guarded({ number }, { unit = function() return length end }) end, "guard.unit: expected a whole number from 1, or nil, got ")
end
raises(function() guarded({ number }, { nonsense = 1 }) end, "session:stream", "nonsense")
raises(function() guarded{ function() return 5 end } end, "judge function: expected nil, true, false, a string or a verdict, got number 5")
raises(function() guarded{ function() return { action = "redact" } end } end, "a verdict")
