-- SPDX-License-Identifier: Apache-2.0
-- What tokens guessed from earlier text gain where an answer copies: time beside the same answer without guesses.
local gregale, command = require "gregale", require "gregale.command"

local options = command.arguments([[
Usage: gregale script guesses.lua MODEL.gguf TEXT [OPTION...]
Reads the beginning of the file twice and the first words of it once more, and lets the model go on, which then copies;
with guesses and without, alternating. Greedy, so that the answers are the same.

  --part N          tokens that are repeated (default 300)
  --tokens N        generated (default 200)
  --guesses N       at most so many at once (default 10)
  --rounds N        (default 5)
  --device NAME     where the model runs (default auto)]], arg)

local model = command.load(options.model, options)
local part = model:tokenize(command.read(options.text))
if #part < options.part then command.fail(3, "%s: %d tokens, %d are needed", options.text, #part, options.part) end
local prefix = model:session{ context = 2 * options.part + options.tokens + 64 }
local beginning = table.move(part, 1, options.part, 1, {})
prefix:append(beginning):append(beginning):append(table.move(part, 1, 16, 1, {})):evaluate()

local function run(guesses)
  local fork <close> = prefix:fork()
  local begin = gregale.clock()
  local text, info = fork:generate{ max_tokens = options.tokens, temperature = 0, ignore_end = true, raw = true, guesses = guesses }
  return gregale.clock() - begin, text, info
end

local function median(list)
  table.sort(list)
  return (list[(#list + 1) // 2] + list[#list // 2 + 1]) / 2
end

local _, _, warm = run(options.guesses)
local ratios, equal, info = {}, true, warm
for round = 1, options.rounds do
  local plain, expected, guessing, text
  if round % 2 == 1 then plain, expected = run() end
  guessing, text, info = run(options.guesses)
  if round % 2 == 0 then plain, expected = run() end
  ratios[round], equal = plain / guessing, equal and text == expected
end
local ratio = median(ratios)
command.write(("%d tokens, %d guesses at most: %d guessed, %d of them right; %d alternating rounds on %s\n"):format(options.tokens,
  options.guesses, info.guessed, info.guessed_right, options.rounds, model:info().device),
  ("%.2f times as fast as without (%.2f to %.2f)\n"):format(ratio, ratios[1], ratios[#ratios]),
  equal and "the texts are the same\n" or "the texts differ\n")
