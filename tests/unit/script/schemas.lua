-- SPDX-License-Identifier: Apache-2.0
-- gregale.schema: each keyword passes what it should and names what it should not, where it stands.
local gregale = require "gregale"
local schema = require "gregale.schema"
local tools = require "gregale.tools"
local support = require "support"
local raises, same = support.raises, support.same

-- Each value (JSON text) with what is said of it; false: nothing.
local function check(one, expected)
  same(schema.refused(one), nil)
  for text, message in pairs(expected) do
    local found = schema.check(assert(gregale.from_json(text)), one)
    same(found or false, message, text)
  end
end

check({}, { ["5"] = false, ["null"] = false })
check({ type = "integer" }, { ["5"] = false, ["5.0"] = false, ["5.5"] = "value: expected integer, got 5.5", ['"5"'] = 'value: expected integer, got "5"' })
check({ type = { "string", "null" } }, { ['"a"'] = false, ["null"] = false, ["true"] = "value: expected string or null, got true" })
check({ type = "array" }, { ["[]"] = false, ["[1]"] = false, ["{}"] = "value: expected array, got {}" })
check({ type = "object" }, { ["{}"] = false, ['{"a": 1}'] = false, ["[]"] = "value: expected object, got []", ["[1]"] = "value: expected object, got [1]" })
check({ enum = { 1, "a", gregale.null } }, { ["1"] = false, ["1.0"] = false, ["null"] = false, ["2"] = 'value: expected one of 1, "a", null, got 2' })
check({ const = { 1, { a = 2 } } }, { ['[1, {"a": 2}]'] = false, ["[1]"] = 'value: expected [1,{"a":2}], got [1]' })
check({ minimum = 1, maximum = 3 }, { ["1"] = false, ["3"] = false, ["0"] = "value: expected at least 1, got 0", ["3.5"] = "value: expected at most 3, got 3.5", ['"x"'] = false })
check({ exclusiveMinimum = 1, exclusiveMaximum = 3, multipleOf = 0.5 },
  { ["1.5"] = false, ["1"] = "value: expected more than 1, got 1", ["3"] = "value: expected less than 3, got 3", ["1.7"] = "value: expected a multiple of 0.5, got 1.7" })
check({ multipleOf = 0.1 }, { ["0.3"] = false, ["-0.7"] = false, ["0"] = false, ["1e300"] = false, ["0.35"] = "value: expected a multiple of 0.1, got 0.35",
  ["0.3000001"] = "value: expected a multiple of 0.1, got 0.3000001" })
check({ multipleOf = 2 }, { ["9007199254740992"] = false, ["9007199254740993"] = "value: expected a multiple of 2, got 9007199254740993" })
check({ minLength = 2, maxLength = 3 }, { ['"éé"'] = false, ['"é"'] = 'value: expected at least 2 characters, got "é"', ['"abcd"'] = 'value: expected at most 3 characters, got "abcd"' })
check({ minItems = 1, maxItems = 2, items = { type = "number" } },
  { ["[1]"] = false, ["[]"] = "value: expected at least 1 elements, got []", ["[1,2,3]"] = "value: expected at most 2 elements, got [1,2,3]",
    ['[1,"2"]'] = '/1: expected number, got "2"' })
local point = { type = "object", properties = { x = { type = "number" }, y = { type = "number" } }, required = { "x" }, additionalProperties = false }
check({ properties = { at = point } },
  { ['{"at": {"x": 1}}'] = false, ['{"at": {"y": 1}}'] = '/at/x: expected a value, got {"y":1}', ['{"at": {"x": "1"}}'] = '/at/x: expected number, got "1"',
    ['{"at": {"x": 1, "z": 2}}'] = "/at/z: expected nothing here, got 2", ["{}"] = false, ["5"] = false })
check({ additionalProperties = { type = "boolean" } }, { ['{"a": true}'] = false, ['{"a": 1}'] = "/a: expected boolean, got 1" })
check({ anyOf = { { type = "string" }, point } }, { ['"a"'] = false, ['{"x": 1}'] = false, ["5"] = "value: expected one of 2 forms, got 5" })
check({ oneOf = { { minimum = 1 }, { maximum = 5 } } }, { ["0"] = false, ["9"] = false, ["3"] = "value: expected just one of 2 forms (2 fit), got 3" })
check({ allOf = { { minimum = 1 }, { maximum = 5 } } }, { ["3"] = false, ["9"] = "value: expected at most 5, got 9" })
same(schema.check(("x"):rep(100), { type = "number" }), 'value: expected number, got "' .. ("x"):rep(56) .. "...")

for message, one in pairs{
  ["/pattern: this keyword is not supported"] = { pattern = "x" },
  ["/items/not: this keyword is not supported"] = { items = { ["not"] = {} } },
  ["/properties/a/$ref: this keyword is not supported"] = { properties = { a = { ["$ref"] = "#" } } },
  ['/anyOf/2/type: expected a type that JSON has, got string "text"'] = { anyOf = { {}, { type = "text" } } },
  ["/properties/a: expected a schema, got number"] = { properties = { a = 5 } },
  ["/allOf: expected a list of schemas, got number 5"] = { allOf = 5 },
  ["/oneOf: expected a list of schemas, got table"] = { oneOf = { a = true } },
  ["/anyOf: expected a list of schemas, got table"] = { anyOf = {} },
  ["/properties: expected an object of schemas, got table"] = { properties = { true } },
  ["/1: this keyword is not supported"] = { "object" },
  ["/type: expected a type that JSON has, got number 5"] = { type = 5 },
  ["/type: expected a type that JSON has, got table"] = { type = { "string", "text" } },
  ['/required: expected a list of strings, got string "place"'] = { type = "object", required = "place" },
  ["/required: expected a list of strings, got table"] = { required = { "place", 5 } },
  ['/enum: expected a list of values, got string "x"'] = { enum = "x" },
  ["/enum: expected a list of values, got table"] = { enum = { print } },
  ["/const: expected a value that JSON has, got function"] = { const = print },
  ['/minimum: expected a number, got string "3"'] = { minimum = "3" },
  ["/exclusiveMaximum: expected a number, got true"] = { exclusiveMaximum = true },
  ["/minLength: expected a whole number from 0, got table"] = { minLength = {} },
  ["/maxItems: expected a whole number from 0, got number 1.5"] = { maxItems = 1.5 },
  ["/minItems: expected a whole number from 0, got number -1"] = { minItems = -1 },
  ["/multipleOf: expected a number above 0, got number 0"] = { multipleOf = 0 },
  ["/multipleOf: expected a number above 0, got number inf"] = { multipleOf = math.huge },
} do same(schema.refused(one), message) end
same(schema.refused{ title = "a", description = "b", format = "date", default = 1, examples = { 1 }, items = true }, nil)
same(schema.refused{ type = "object", properties = {}, required = {}, enum = {}, minLength = 3.0, const = { {} } }, nil)

-- No value satisfies, or fails, a schema that is not understood.
for refused, one in pairs{ ["/pattern"] = { type = "string", pattern = "^a$" }, ["/not"] = { ["not"] = {} }, ["/$ref"] = { ["$ref"] = "#/nope" },
                           ["/minimum"] = { minimum = "3" }, ["/items/if"] = { items = { ["if"] = true } } } do
  raises(function() schema.check("zzz", one) end, "schemas.lua:", "schema.check: schema: expected one that can be checked (" .. refused .. ": ")
end

-- One that holds itself has no end; one that is deep has.
local deep = {}
for _ = 1, 99 do deep = { items = deep } end
same(schema.refused(deep), nil)
same(schema.refused{ items = deep }, "schemas nested more than 100 deep")
local round = { type = "object", properties = {} }
round.properties.child = round
same(schema.refused(round), "schemas nested more than 100 deep")
raises(function() tools.definitions{ { name = "a", parameters = round, call = print } } end, "nested more than 100 deep")
