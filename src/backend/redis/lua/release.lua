-- SPDX-License-Identifier: MIT
-- uses: keys place
--
-- Gives a run back that nobody holds. ARGV: now, id, epoch. The answer: whether it was running.

local now, id = ARGV[1], ARGV[2]
local f = call('HMGET', task .. id, 'state', 'nq:run', 'nq:at', 'nq:job', 'nq:rank')
if f[1] ~= 'active' or not is_run(f[2], ARGV[3]) or not is_ours(call('ZSCORE', lease, id)) then
    return 0
end
call('LREM', active, -1, id)
call('ZREM', lease, id)
put_ready(id, 'scheduled', place_of(f[3], f[4]) or now .. new_arrival(), tonumber(f[5] or 0), nanoseconds(now))
return 1
