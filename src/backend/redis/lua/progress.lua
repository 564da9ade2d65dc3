-- SPDX-License-Identifier: MIT
-- uses: keys
--
-- ARGV: id, epoch, what to keep. The answer: 1, or 0 if that run is over.

local f = call('HMGET', task .. ARGV[1], 'state', 'nq:run')
if f[1] ~= 'active' or not is_run(f[2], ARGV[2]) then
    return 0
end
call('HSET', task .. ARGV[1], 'nq:progress', ARGV[3])
return 1
