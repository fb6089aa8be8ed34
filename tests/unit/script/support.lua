-- SPDX-License-Identifier: Apache-2.0
-- What the snippets of test_script.c share: models, and checks.
local gregale = require "gregale"
local support = {}

-- A few thousand random numbers with a window of 64, that write ASCII: it costs nothing to run.
function support.model(options)
  return support.load(MODEL, options)
end

function support.breeze(options)
  return support.load(SOURCE_DIR .. "/configs/models/breeze/breeze-q8_0.gguf", options)
end

function support.load(path, options)
  local all = { path = path, device = DEVICE }
  for key, value in pairs(options or {}) do all[key] = value end
  return gregale.load(all)
end

-- The call raises, and its message holds each of the texts.
function support.raises(call, ...)
  local fine, message = pcall(call)
  if fine then error("expected an error with: " .. table.concat({ ... }, ", "), 2) end
  for _, text in ipairs{ ... } do
    if not tostring(message):find(text, 1, true) then
      error(("expected '%s' in: %s"):format(text, tostring(message)), 2)
    end
  end
end

function support.same(found, expected, what)
  if found ~= expected then
    error(("%s: expected %s, got %s"):format(what or "value", tostring(expected), tostring(found)), 2)
  end
end

function support.near(found, expected, bound, what)
  if not (math.abs(found - expected) <= bound) then
    error(("%s: expected %g within %g, got %g"):format(what or "value", expected, bound, found), 2)
  end
end

return support
