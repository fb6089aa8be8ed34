-- SPDX-License-Identifier: Apache-2.0
-- The module in a plain lua5.4, for busted. MODEL (environment): a model's path.
describe("gregale", function()
  local gregale = require "gregale"
  local model, session

  setup(function() model = gregale.load(os.getenv "MODEL") end)
  before_each(function() session = model:session():append("In the beginning God") end)
  after_each(function() session:close() end)

  it("has a version", function() assert.matches("^%d+%.%d+%.%d+$", gregale.version) end)

  it("lists devices", function()
    local names = {}
    for _, device in ipairs(gregale.devices()) do names[device.name] = true end
    assert.is_true(names.ref)
  end)

  it("streams what it generates", function()
    local text = session:fork():generate{ max_tokens = 6, temperature = 0 }
    local pieces = {}
    for piece in session:stream{ max_tokens = 6, temperature = 0 } do pieces[#pieces + 1] = piece end
    assert.equal(text, table.concat(pieces))
  end)

  it("runs branches, also in a coroutine of the test's", function()
    local alone = session:fork():generate{ max_tokens = 4, temperature = 0 }
    local run = coroutine.wrap(function()
      return gregale.map({ 1, 2 }, function() return (session:fork():generate{ max_tokens = 4, temperature = 0 }) end)
    end)
    assert.same({ alone, alone, n = 2 }, run())
  end)

  it("says what is wrong with an argument", function()
    assert.error_matches(function() session:generate{ max_token = 3 } end, 'unknown option "max_token"')
    assert.error_matches(function() gregale.load("/nonexistent.gguf") end, "/nonexistent.gguf")
  end)
end)
