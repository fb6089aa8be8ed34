-- SPDX-License-Identifier: Apache-2.0
-- Checks what gregale.from_json returned against JSON schemas. (An empty table that a script made is an object.)
-- What a schema may hold is in `keywords` and `annotations`; the rest is refused, never ignored.
local gregale = require "gregale"
local schema = {}

local annotations = { title = true, description = true, default = true, examples = true, format = true, deprecated = true,
                      ["$schema"] = true, ["$id"] = true, ["$comment"] = true }

local function is_list(value)
  return #value > 0 or (next(value) == nil and gregale.to_json(value) == "[]")
end

local function is(value, kind)
  if kind == "null" then return value == gregale.null end
  if kind == "integer" then return type(value) == "number" and math.floor(value) == value end
  if kind == "array" then return type(value) == "table" and is_list(value) end
  if kind == "object" then return type(value) == "table" and not is_list(value) end
  return type(value) == kind -- boolean, number, string
end

local kinds = { "null", "boolean", "integer", "number", "string", "array", "object" }
for _, kind in ipairs(kinds) do kinds[kind] = true end

-- The value as JSON, cut where it is long.
local function show(value)
  local text = gregale.to_json(value)
  return #text <= 60 and text or text:sub(1, 57) .. "..."
end

local function wrong(at, expected, value)
  return ("%s: expected %s, got %s"):format(at == "" and "value" or at, expected, show(value))
end

local function list_of(value)
  return type(value) == "table" and value or { value }
end

local function quoted(list)
  local texts = {}
  for i, value in ipairs(list) do texts[i] = gregale.to_json(value) end
  return table.concat(texts, ", ")
end

-- ---- Keywords: f(value, argument, at, whole) returns what is wrong, or nil. In the order in which they are looked at.

local keywords = {}
local function keyword(name, f)
  keywords[#keywords + 1] = name
  keywords[name] = f
end

-- A keyword that speaks of values of one kind only.
local function bound(name, kind, expected, holds)
  keyword(name, function(value, limit, at)
    if is(value, kind) and not holds(value, limit) then return wrong(at, expected:format(limit), value) end
  end)
end

keyword("type", function(value, argument, at)
  for _, kind in ipairs(list_of(argument)) do
    if is(value, kind) then return end
  end
  return wrong(at, table.concat(list_of(argument), " or "), value)
end)
keyword("enum", function(value, list, at)
  local text = gregale.to_json(value)
  for _, one in ipairs(list) do
    if gregale.to_json(one) == text then return end
  end
  return wrong(at, "one of " .. quoted(list), value)
end)
keyword("const", function(value, constant, at)
  if gregale.to_json(value) ~= gregale.to_json(constant) then return wrong(at, gregale.to_json(constant), value) end
end)
bound("minimum", "number", "at least %s", function(value, limit) return value >= limit end)
bound("maximum", "number", "at most %s", function(value, limit) return value <= limit end)
bound("exclusiveMinimum", "number", "more than %s", function(value, limit) return value > limit end)
bound("exclusiveMaximum", "number", "less than %s", function(value, limit) return value < limit end)
bound("multipleOf", "number", "a multiple of %s", function(value, unit) return value % unit == 0 end)
bound("minLength", "string", "at least %s characters", function(value, limit) return (utf8.len(value) or #value) >= limit end)
bound("maxLength", "string", "at most %s characters", function(value, limit) return (utf8.len(value) or #value) <= limit end)
bound("minItems", "array", "at least %s elements", function(value, limit) return #value >= limit end)
bound("maxItems", "array", "at most %s elements", function(value, limit) return #value <= limit end)
keyword("required", function(value, names, at)
  if not is(value, "object") then return end
  for _, name in ipairs(names) do
    if value[name] == nil then return wrong(at .. "/" .. name, "a value", value) end
  end
end)
keyword("properties", function(value, properties, at)
  if not is(value, "object") then return end
  for name, inner in pairs(properties) do
    local message = value[name] ~= nil and schema.check(value[name], inner, at .. "/" .. name)
    if message then return message end
  end
end)
keyword("additionalProperties", function(value, inner, at, whole)
  if not is(value, "object") then return end
  for name, member in pairs(value) do
    local message = not (whole.properties or {})[name] and schema.check(member, inner, at .. "/" .. name)
    if message then return message end
  end
end)
keyword("items", function(value, inner, at)
  if not is(value, "array") then return end
  for i, element in ipairs(value) do
    local message = schema.check(element, inner, at .. "/" .. i - 1)
    if message then return message end
  end
end)
keyword("allOf", function(value, list, at)
  for _, inner in ipairs(list) do
    local message = schema.check(value, inner, at)
    if message then return message end
  end
end)

-- How many of the schemas the value satisfies, and what is wrong with the last that it does not.
local function count(value, list, at)
  local fits, message = 0, nil
  for _, inner in ipairs(list) do
    local found = schema.check(value, inner, at)
    fits, message = fits + (found and 0 or 1), found or message
  end
  return fits, message
end

keyword("anyOf", function(value, list, at)
  local fits, message = count(value, list, at)
  if fits == 0 then return #list == 1 and message or wrong(at, "one of " .. #list .. " forms", value) end
end)
keyword("oneOf", function(value, list, at)
  local fits = count(value, list, at)
  if fits ~= 1 then return wrong(at, ("just one of %d forms (%d fit)"):format(#list, fits), value) end
end)

-- ---- The two calls

-- What is wrong with the value, as "/place/within: expected ..., got ..."; nil: nothing.
function schema.check(value, one, at)
  at = at or ""
  if one == false then return wrong(at, "nothing here", value) end
  if one == true then return end
  for _, name in ipairs(keywords) do
    local message = one[name] ~= nil and keywords[name](value, one[name], at, one)
    if message then return message end
  end
end

-- Schemas within schemas, by the keyword that holds them.
local DEPTH_MAX = 100 -- as of gregale.to_json; a table that holds itself has no end
local holds = { properties = "map", allOf = "list", anyOf = "list", oneOf = "list", items = "one", additionalProperties = "one" }

local function refused(one, at, depth)
  if type(one) == "boolean" then return end
  if depth > DEPTH_MAX then return ("schemas nested more than %d deep"):format(DEPTH_MAX) end
  if type(one) ~= "table" then return ("%s: expected a schema, got %s"):format(at, type(one)) end
  for name, argument in pairs(one) do
    local place, kind = at .. "/" .. tostring(name), holds[name]
    if not keywords[name] and not annotations[name] then return place .. ": this keyword is not supported" end
    if (kind == "map" or kind == "list") and type(argument) ~= "table" then return place .. ": expected a table" end
    for inner, value in pairs(kind == "one" and { [""] = argument } or kind and argument or {}) do
      local message = refused(value, kind == "one" and place or place .. "/" .. tostring(inner), depth + 1)
      if message then return message end
    end
  end
  for _, kind in ipairs(list_of(one.type)) do
    if not kinds[kind] then return ("%s/type: expected a type that JSON has, got %s"):format(at, tostring(kind)) end
  end
end

-- What `check` does not understand in a schema, as "/place/within: ..."; nil: nothing.
function schema.refused(one)
  return refused(one, "", 1)
end

return schema
