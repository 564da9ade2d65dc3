-- SPDX-License-Identifier: MIT
--
-- A worker lives. KEYS: leases, facts. ARGV: "1" if it joins, its id, the end of its lease ("" = it leaves), facts. The
-- answer: 0 if its lease was found over before.

local call = redis.call
if ARGV[1] == '0' and not call('ZSCORE', KEYS[1], ARGV[2]) then
    return 0
end
call('ZREM', KEYS[1], ARGV[2]) -- first, so that a server whose memory is full takes the rest
if ARGV[3] == '' then
    call('HDEL', KEYS[2], ARGV[2])
else
    call('ZADD', KEYS[1], ARGV[3], ARGV[2])
    call('HSET', KEYS[2], ARGV[2], ARGV[4])
end
return 1
