-- SPDX-License-Identifier: Apache-2.0
-- Forks answered side by side, seeded: the text is the same in any run, with any number of threads, in
-- any chunks. Usage: gregale script branches.lua MODEL DEVICE THREADS CHUNK
local gregale = require "gregale"
gregale.configure{ threads = tonumber(arg[3]) }
local model = gregale.load{ arg[1], device = arg[2], chunk = tonumber(arg[4]) }
local prefix = model:session():append(("And the king said unto the people, Let us go up to the city. "):rep(20))
prefix:evaluate()
local branches = {}
for i, beginning in ipairs{ " And", " So they", " But the prophet", " Then came", " Now" } do
  branches[i] = function()
    local fork <close> = prefix:fork():append(beginning)
    local pieces = {}
    for piece in fork:stream{ max_tokens = 10 + 3 * i, temperature = 0.9, seed = i } do pieces[#pieces + 1] = piece end
    local again = prefix:fork():append(" Behold") -- joins while the others are under way
    return table.concat(pieces) .. "|" .. again:generate{ max_tokens = 6, temperature = 1, seed = 5 * i }
  end
end
for i, text in ipairs(gregale.parallel(branches)) do print(i, text) end
