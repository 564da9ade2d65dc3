-- SPDX-License-Identifier: MIT
-- uses: keys place store
--
-- ARGV: now, the schedule's name, the tick that is expected, the last one, the next one, then jobs as store.lua has them.
-- The answer is that of enqueue.lua, or 0: somebody else did it.

local key = prefix .. 'neoq:schedule:' .. ARGV[2]
if call('HGET', key, 'next') ~= ARGV[3] then
    return 0
end
call('HSET', key, 'last', ARGV[4], 'next', ARGV[5])
return store(6, ARGV[1])
