-- SPDX-License-Identifier: Apache-2.0
-- Holds an answer back until judges have seen it, a unit (sentence, line, ...) at a time; they may let it pass, redact
-- or rewrite it, or stop the answer. The session then holds what was shown. docs/guardrails.md tells it with examples.
local gregale = require "gregale"
local argument = require "gregale.argument"
local guard = {}

-- The system prompt with which Mistral AI enforces guardrails: Jiang et al., Mistral 7B, arXiv 2310.06825, section 5.1.
guard.enforcement = "Always assist with care, respect, and truth. Respond with utmost utility yet securely. Avoid harmful, " ..
  "unethical, prejudiced, or negative content. Ensure replies promote fairness and positivity."

local MARK = "[redacted]"

-- Raised `level` calls above who calls this, which is 1.
local function fail(level, place, expected, got) argument.fail(level + 1, "guard." .. place, expected, got) end

local function one_of(value, list)
  for _, one in ipairs(list) do
    if value == one then return true end
  end
  return false
end

local function check_known(options, what, known)
  if type(options) ~= "table" then fail(3, what .. ": options", "a table", options) end
  for name in pairs(options) do
    if type(name) == "string" and not one_of(name, known) then
      fail(3, what .. ": options", "one of " .. table.concat(known, ", "), name)
    end
  end
end

-- ---- Patterns

-- Behind the set whose "[" stands in front of `at`, or nil where it has no end.
local function behind_set(pattern, at)
  at = pattern:match("^%^?()", at)
  repeat -- the first one may be "]"
    at = pattern:match("^%%.()", at) or pattern:match("^[^%%]()", at)
  until not at or pattern:sub(at, at) == "]"
  return at and at + 1
end

-- How many captures a Lua pattern has, or nil when it is malformed: string.find says so no sooner than it comes there.
local function captures(pattern)
  local open, closed, count, at = {}, {}, 0, 1
  while at and at <= #pattern do
    local item = pattern:match("^%%[bf%d]", at) or pattern:match("^%%?.", at)
    at = at + #item
    if item == "(" then
      count = count + 1
      open[#open + 1] = count
    elseif item == ")" then
      if not open[1] then return nil end
      closed[table.remove(open)] = true
    elseif item == "[" then
      at = behind_set(pattern, at)
    elseif item == "%f" then
      at = pattern:sub(at, at) == "[" and behind_set(pattern, at + 1)
    elseif item == "%b" then
      at = pattern:match("^..()", at)
    elseif item == "%" or item:find("^%%%d") and not closed[tonumber(item:sub(2))] then
      return nil
    end
  end
  return at and not open[1] and count <= 32 and count or nil
end

-- Whether string.gsub takes the text in place of what matches, whatever matches.
local function is_replacement(text, most)
  local rest = text:gsub("%%(.)", function(c) return (c == "%" or tonumber(c) and tonumber(c) <= most) and "" or nil end)
  return not rest:find("%", 1, true)
end

-- ---- Judges: {name =, judge = function(unit, context)}; a verdict is nil (passes) or {action =, text =, reason =}

-- Lua patterns. `action`: "redact" puts `with` (as string.gsub takes it) in place of what matches, "stop" ends the
-- answer with it.
function guard.pattern(options)
  check_known(options, "pattern", { "name", "action", "with" })
  local action, with = options.action or "redact", options.with
  if #options == 0 then fail(2, "pattern: patterns", "at least one", nil) end
  local most = math.huge -- captures that each has; %1 is the whole match where there is none
  for i, pattern in ipairs(options) do
    local count = type(pattern) == "string" and captures(pattern)
    if not count then fail(2, ("pattern: patterns[%d]"):format(i), "a Lua pattern", pattern) end
    most = math.min(most, math.max(count, 1))
  end
  if not one_of(action, { "redact", "stop" }) then fail(2, "pattern: action", "redact or stop", action) end
  if with ~= nil and type(with) ~= "string" and (action == "stop" or type(with) ~= "function") then
    fail(2, "pattern: with", action == "stop" and "a string" or "a string or a function", with)
  end
  if action == "redact" and type(with) == "string" and not is_replacement(with, most) then
    fail(2, "pattern: with", "what string.gsub takes (%% for a %)", with)
  end
  local function judge(unit)
    local text, found = unit, nil
    for _, pattern in ipairs(options) do
      if unit:find(pattern) then found = found or pattern end
      if action == "redact" then text = text:gsub(pattern, with or MARK) end
    end
    if found then return { action = action, text = action == "redact" and text or with, reason = found } end
  end
  return { name = options.name or "pattern", judge = judge }
end

-- What replaces a unit as a whole; space around it stays.
local function replace(unit, with, context)
  local text = type(with) == "function" and with(unit, context) or with
  if type(text) ~= "string" then fail(0, "classifier: with", "a function that returns a string", text) end
  return unit:match("^%s*") .. text .. (unit:match("%S(%s*)$") or "")
end

-- A question to the model, on a fork: of `session`, whose prefix tells it what to judge by, or of the guarded session,
-- which has the answer in its cache already. What `catch` names being likelier than `threshold` is caught.
function guard.classifier(options)
  check_known(options, "classifier", { "name", "question", "options", "catch", "threshold", "session", "action", "with" })
  local answers, threshold, action = options.options or { "yes", "no" }, options.threshold or 0.5, options.action or "stop"
  local catch, with = options.catch or answers[1], options.with
  if type(options.question) ~= "string" then fail(2, "classifier: question", "a string", options.question) end
  if type(answers) ~= "table" or #answers < 2 then fail(2, "classifier: options", "a list of two answers or more", answers) end
  if not one_of(catch, answers) then fail(2, "classifier: catch", "one of the options", catch) end
  if type(threshold) ~= "number" then fail(2, "classifier: threshold", "a number", threshold) end
  if not one_of(action, { "stop", "redact", "rewrite" }) then fail(2, "classifier: action", "stop, redact or rewrite", action) end
  if (with == nil and action == "rewrite") or (with ~= nil and type(with) ~= "string" and (action == "stop" or type(with) ~= "function")) then
    fail(2, "classifier: with", action == "stop" and "a string" or "a string or a function", with)
  end
  if options.session ~= nil and not argument.is_session(options.session) then fail(2, "classifier: session", "a session", options.session) end
  local function ask(unit, context)
    local fork <close> = (options.session or context.session):fork()
    local chats = #fork:turns() > 0
    local text = options.question:gsub("{text}", function() return unit end)
    if options.session and text == options.question then text = unit .. "\n" .. text end
    if chats and not options.session and context.answers then fork:assistant(context.before .. unit) end
    if chats then fork:user(text) else fork:append(text) end
    local _, _, chances = fork:choose(answers)
    for i, answer in ipairs(answers) do
      if answer == catch then return chances[i] end
    end
  end
  local function judge(unit, context)
    if not unit:find("%S") then return end
    local chance = ask(unit, context)
    if chance < threshold then return end
    local text = with
    if action ~= "stop" then text = replace(unit, with or MARK, context) end
    return { action = action, text = text, reason = ("%s: %.0f %%"):format(catch, 100 * chance), chance = chance }
  end
  return { name = options.name or "classifier", judge = judge }
end

-- Functions are judges as they are: f(unit, context) returns nil or true (passes), a string (instead of the unit),
-- false (stops), or a verdict.
local function read_judges(level, what, list)
  local judges = {}
  if type(list) ~= "table" or #list == 0 then fail(level + 1, what .. ": judges", "a list of judges", list) end
  for i, one in ipairs(list) do
    local made = type(one) == "table" and type(one.judge) == "function"
    if not made and type(one) ~= "function" then fail(level + 1, ("%s: judges[%d]"):format(what, i), "a judge or a function", one) end
    judges[i] = made and one or { name = "function", judge = one }
  end
  return judges
end

local function read_verdict(name, verdict, unit)
  if verdict == nil or verdict == true then return nil end
  if verdict == false then return { action = "stop" } end
  if type(verdict) == "string" then return verdict ~= unit and { action = "rewrite", text = verdict } or nil end
  local good = type(verdict) == "table" and one_of(verdict.action, { "redact", "rewrite", "stop" }) and
               (verdict.action == "stop" and verdict.text == nil or type(verdict.text) == "string")
  if not good then fail(0, ("judge %s"):format(name), "nil, true, false, a string or a verdict", verdict) end
  return verdict
end

-- Lets all judges see one unit. Returns what may be shown of it, and whether the answer stops there.
local function pass(judges, unit, context, report)
  report.units = report.units + 1
  for _, one in ipairs(judges) do
    local began = gregale.clock()
    local verdict = read_verdict(one.name, one.judge(unit, context), unit)
    report.judge_seconds[one.name] = (report.judge_seconds[one.name] or 0) + gregale.clock() - began
    if verdict then
      local stops = verdict.action == "stop"
      local after = verdict.text or ""
      table.insert(report.caught, { unit = report.units, judge = one.name, action = verdict.action, reason = verdict.reason,
                                    chance = verdict.chance, before = unit, after = after })
      unit = after
      if stops then return unit, true end
    end
  end
  return unit, false
end

local function new_report()
  return { units = 0, caught = {}, stopped = false, judge_seconds = {}, seconds = 0 }
end

-- Judges a text that is there already, such as a user's. Returns what may be used of it, nil when it was stopped, and
-- the report.
function guard.judge(session, list, text)
  local judges, report = read_judges(2, "judge", list), new_report()
  if type(text) ~= "string" then fail(2, "judge: text", "a string", text) end
  local began = gregale.clock()
  local shown, stopped = pass(judges, text, { session = session, before = "", answers = false }, report)
  report.stopped, report.seconds = stopped, gregale.clock() - began
  if stopped then return nil, report end
  return shown, report
end

-- ---- Units: where the first one of a text ends, or nil while it may go on

local function end_of(text, pattern)
  return (select(2, text:find(pattern)))
end

local units = {
  line = function(text) return end_of(text, "\n") end,
  paragraph = function(text) return end_of(text, "\n%s*\n") end,
  answer = function() end,
}
function units.sentence(text)
  local mark, line = end_of(text, "[.!?][\"')%]]*%s"), end_of(text, "\n")
  return mark and line and math.min(mark, line) or mark or line
end

-- ---- The stream

local stream = {}
stream.__index = stream

-- The next unit of what is held back; at the end of the answer, also one that is not complete.
local function cut(self)
  local length = self.held ~= "" and (self.unit(self.held) or self.ended and #self.held)
  if not length then return nil end
  if math.type(length) ~= "integer" or length < 1 then fail(0, "unit", "a whole number from 1, or nil", length) end
  local unit = self.held:sub(1, length)
  self.held = self.held:sub(length + 1)
  return unit
end

-- The session's last turn, or its tokens where the answer is none, become what was shown.
local function mend(self)
  local session, shown = self.session, self:text()
  if not self.turns then
    session:rewind(self.tokens)
    if self.healed then session:append(self.healed) end
    if shown ~= "" then session:append(shown) end
    return
  end
  session:keep_turns(self.turns)
  if shown ~= "" then session:assistant(shown) end
end

local function finish(self)
  if self.last then return end
  self.source:close()
  self.last = self.source:info()
  self.record.seconds = gregale.clock() - self.began
  self.last.guard = self.record
  if self:text() == self.source:text() then return end
  self.last.tool_calls = {} -- they were not what was shown
  mend(self)
end

-- The next text to show, or nil at the end. An error, of a judge or of the source, is the end too.
function stream:__call()
  local broken <close> = self.broken
  while not self.last do
    local unit = cut(self)
    if unit then
      local text, stopped = pass(self.judges, unit, self.context, self.record)
      if stopped then
        self.held, self.ended, self.record.stopped = "", true, true
      end
      if text ~= "" then
        table.insert(self.shown, text)
        self.context.before = self.context.before .. text
        self.record.first_seconds = self.record.first_seconds or gregale.clock() - self.began
        return text
      end
    elseif self.ended then
      finish(self)
    else
      local piece = self.source()
      self.held, self.ended = self.held .. (piece or ""), piece == nil
    end
  end
end

-- Ends it early: what is held back is dropped.
function stream:close() finish(self) end
stream.__close = stream.close

function stream:text() return table.concat(self.shown) end
function stream:report() return self.record end
-- That of the generated answer, with the report as `guard`.
function stream:info() return self.last or self.source:info() end

-- Called by what a script calls, as `what`.
local function open(what, session, list, options)
  local judges, generation = read_judges(3, what, list), {}
  if not argument.is_session(session) then fail(3, what .. ": session", "a session", session) end
  if options ~= nil and type(options) ~= "table" then fail(3, what .. ": options", "a table", options) end
  for name, value in pairs(options or {}) do generation[name] = value end
  local unit = generation.unit or "sentence"
  generation.unit = nil
  if type(unit) ~= "function" and not units[unit] then
    fail(3, what .. ": unit", "sentence, line, paragraph, answer or a function", unit)
  end
  local turns, tokens = #session:turns(), #session
  local healed = generation.heal and tokens > 0 and session:tokens()[tokens] or nil -- it is chosen again
  local self
  local broken = setmetatable({}, { __close = function(_, wrong) if wrong ~= nil then finish(self) end end })
  self = setmetatable({ session = session, judges = judges, unit = units[unit] or unit,
                        tokens = healed and tokens - 1 or tokens, healed = healed, broken = broken,
                        turns = turns > 0 and not generation.raw and turns or nil, held = "", shown = {},
                        record = new_report(), began = gregale.clock(),
                        context = { session = session, before = "", answers = true },
                        source = session:stream(generation) }, stream)
  return self
end

-- As session:stream, but of judged text; `unit` among the options says how much is judged at a time. Also :report().
function guard.stream(session, judges, options)
  local self = open("stream", session, judges, options)
  return self, nil, nil, self
end

-- As session:generate, but of judged text; the report is info.guard.
function guard.generate(session, judges, options)
  local self <close> = open("generate", session, judges, options)
  for _ in self do end
  return self:text(), self:info()
end

return guard
