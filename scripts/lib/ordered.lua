-- SPDX-License-Identifier: Apache-2.0
-- Results of branches in the order of their numbers, as they come: each waits for those in front of it.
--   local put = require "gregale.ordered"(write) ... put(number, value)
-- `write(value, number)` is called once for each number from 1 on, without gaps.
return function(write)
  local waiting, written = {}, 0
  return function(number, value)
    waiting[number] = { value }
    while waiting[written + 1] do
      local next = table.remove(waiting[written + 1])
      waiting[written + 1] = nil
      written = written + 1
      write(next, written)
    end
  end
end
