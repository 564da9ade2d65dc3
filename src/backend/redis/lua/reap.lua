-- SPDX-License-Identifier: MIT
--
-- Forgets workers: those whose lease is over, and those named. KEYS: leases, facts. ARGV: now, names.

local call = redis.call
local gone = call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[1], 'LIMIT', 0, 100)
for i = 2, #ARGV do
    gone[#gone + 1] = ARGV[i]
end
if #gone > 0 then
    call('ZREM', KEYS[1], unpack(gone))
    call('HDEL', KEYS[2], unpack(gone))
end
return #gone
