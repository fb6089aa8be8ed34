-- SPDX-License-Identifier: Apache-2.0
-- Checks what gregale.from_json returned against JSON schemas. (An empty table that a script made is an object.)
-- What a schema may hold is in `keywords` and `annotations`; the rest is refused, never ignored.
local gregale = require "gregale"
local argument = require "gregale.argument"
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

local kinds = {}
for kind in ("null boolean integer number string array object"):gmatch("%a+") do kinds[kind] = true end

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

-- ---- What keywords take: what it is called, and whether a value is that. What holds schemas is looked into besides.

-- A list, also one that a script made empty.
local function is_list_of(value, least, holds)
  if type(value) ~= "table" or #value < least or (not is_list(value) and next(value) ~= nil) then return false end
  for _, one in ipairs(value) do
    if not holds(one) then return false end
  end
  return true
end

local function is_number(value) return type(value) == "number" and value - value == 0 end -- finite
local function is_string(value) return type(value) == "string" end
local function is_json(value) return (pcall(gregale.to_json, value)) end
local function is_any() return true end

local takes = {
  schema = { "a schema", is_any },
  schemas = { "a list of schemas", function(value) return is_list_of(value, 1, is_any) end },
  members = { "an object of schemas", function(value) return is(value, "object") end },
  json = { "a value that JSON has", is_json },
  values = { "a list of values", function(value) return is_list_of(value, 0, is_json) end },
  names = { "a list of strings", function(value) return is_list_of(value, 0, is_string) end },
  number = { "a number", is_number },
  unit = { "a number above 0", function(value) return is_number(value) and value > 0 end },
  count = { "a whole number from 0", function(value) return is_number(value) and is(value, "integer") and value >= 0 end },
  kind = { "a type that JSON has", function(value)
    return is_list_of(list_of(value), 1, function(kind) return kinds[kind] ~= nil end)
  end },
}

-- ---- Keywords: f(value, argument, at, whole) returns what is wrong, or nil. In the order in which they are looked at.

local look
local keywords, order = {}, {}
local function keyword(name, takes_what, f)
  order[#order + 1] = name
  keywords[name] = { takes = takes_what, look = f }
end

-- A keyword that speaks of values of one kind only.
local function bound(name, takes_what, kind, expected, holds)
  keyword(name, takes_what, function(value, limit, at)
    if is(value, kind) and not holds(value, limit) then return wrong(at, expected:format(limit), value) end
  end)
end

-- Exact where both are whole; else within a few units in the last place, as 0.3 is three times 0.1.
local function is_multiple(value, unit)
  local a, b = math.tointeger(value), math.tointeger(unit)
  if a and b then return a % b == 0 end
  local times = value / unit
  return math.abs(times - math.floor(times + 0.5)) <= 0x1p-50 * math.abs(times)
end

keyword("type", "kind", function(value, allowed, at)
  for _, kind in ipairs(list_of(allowed)) do
    if is(value, kind) then return end
  end
  return wrong(at, table.concat(list_of(allowed), " or "), value)
end)
keyword("enum", "values", function(value, list, at)
  local text = gregale.to_json(value)
  for _, one in ipairs(list) do
    if gregale.to_json(one) == text then return end
  end
  return wrong(at, "one of " .. quoted(list), value)
end)
keyword("const", "json", function(value, constant, at)
  if gregale.to_json(value) ~= gregale.to_json(constant) then return wrong(at, gregale.to_json(constant), value) end
end)
bound("minimum", "number", "number", "at least %s", function(value, limit) return value >= limit end)
bound("maximum", "number", "number", "at most %s", function(value, limit) return value <= limit end)
bound("exclusiveMinimum", "number", "number", "more than %s", function(value, limit) return value > limit end)
bound("exclusiveMaximum", "number", "number", "less than %s", function(value, limit) return value < limit end)
bound("multipleOf", "unit", "number", "a multiple of %s", is_multiple)
bound("minLength", "count", "string", "at least %s characters", function(value, limit) return (utf8.len(value) or #value) >= limit end)
bound("maxLength", "count", "string", "at most %s characters", function(value, limit) return (utf8.len(value) or #value) <= limit end)
bound("minItems", "count", "array", "at least %s elements", function(value, limit) return #value >= limit end)
bound("maxItems", "count", "array", "at most %s elements", function(value, limit) return #value <= limit end)
keyword("required", "names", function(value, names, at)
  if not is(value, "object") then return end
  for _, name in ipairs(names) do
    if value[name] == nil then return wrong(at .. "/" .. name, "a value", value) end
  end
end)
keyword("properties", "members", function(value, properties, at)
  if not is(value, "object") then return end
  for name, inner in pairs(properties) do
    local message = value[name] ~= nil and look(value[name], inner, at .. "/" .. name)
    if message then return message end
  end
end)
keyword("additionalProperties", "schema", function(value, inner, at, whole)
  if not is(value, "object") then return end
  for name, member in pairs(value) do
    local message = not (whole.properties or {})[name] and look(member, inner, at .. "/" .. name)
    if message then return message end
  end
end)
keyword("items", "schema", function(value, inner, at)
  if not is(value, "array") then return end
  for i, element in ipairs(value) do
    local message = look(element, inner, at .. "/" .. i - 1)
    if message then return message end
  end
end)
keyword("allOf", "schemas", function(value, list, at)
  for _, inner in ipairs(list) do
    local message = look(value, inner, at)
    if message then return message end
  end
end)

-- How many of the schemas the value satisfies, and what is wrong with the last that it does not.
local function count(value, list, at)
  local fits, message = 0, nil
  for _, inner in ipairs(list) do
    local found = look(value, inner, at)
    fits, message = fits + (found and 0 or 1), found or message
  end
  return fits, message
end

keyword("anyOf", "schemas", function(value, list, at)
  local fits, message = count(value, list, at)
  if fits == 0 then return #list == 1 and message or wrong(at, "one of " .. #list .. " forms", value) end
end)
keyword("oneOf", "schemas", function(value, list, at)
  local fits = count(value, list, at)
  if fits ~= 1 then return wrong(at, ("just one of %d forms (%d fit)"):format(#list, fits), value) end
end)

-- What is wrong with a value of a schema that is right.
function look(value, one, at)
  if one == false then return wrong(at, "nothing here", value) end
  if one == true then return end
  for _, name in ipairs(order) do
    local message = one[name] ~= nil and keywords[name].look(value, one[name], at, one)
    if message then return message end
  end
end

-- ---- The two calls

local DEPTH_MAX = 100 -- as of gregale.to_json; a table that holds itself has no end

local function refused(one, at, depth)
  if type(one) == "boolean" then return end
  if depth > DEPTH_MAX then return ("schemas nested more than %d deep"):format(DEPTH_MAX) end
  if type(one) ~= "table" then return ("%s: expected a schema, got %s"):format(at, type(one)) end
  for name, value in pairs(one) do
    local place, kind = at .. "/" .. tostring(name), keywords[name] and keywords[name].takes
    if not kind and not annotations[name] then return place .. ": this keyword is not supported" end
    if kind and not takes[kind][2](value) then
      return ("%s: expected %s, got %s"):format(place, takes[kind][1], argument.show(value))
    end
    local inner = kind == "schema" and { [""] = value } or (kind == "schemas" or kind == "members") and value or {}
    for key, held in pairs(inner) do
      local message = refused(held, kind == "schema" and place or place .. "/" .. tostring(key), depth + 1)
      if message then return message end
    end
  end
end

-- What `check` does not understand in a schema, as "/place/within: ..."; nil: nothing.
function schema.refused(one)
  return refused(one, "", 1)
end

-- What is wrong with the value, as "/place/within: expected ..., got ..."; nil: nothing. Raises when the schema is refused.
function schema.check(value, one)
  local message = schema.refused(one)
  if message then argument.fail(2, "schema.check: schema", ("one that can be checked (%s)"):format(message), one) end
  return look(value, one, "")
end

return schema
