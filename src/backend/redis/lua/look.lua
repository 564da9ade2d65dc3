-- SPDX-License-Identifier: MIT
-- uses: keys
--
-- ARGV: ids. The answer has of each, or nil: message, state, facts, place, epoch, when its last run began, when it ended
-- and until when it is kept, result, since when it is pending, score in its sorted set.

local answer = {}
for i, id in ipairs(ARGV) do
    local f = call('HMGET', task .. id, 'msg', 'state', 'nq:job', 'nq:at', 'nq:run', 'nq:run', 'nq:end', 'result',
                   'pending_since')
    if f[1] then
        local epoch, began = read_run(f[5])
        f[5], f[6] = epoch or false, began or false
        if f[2] ~= 'pending' and f[2] ~= 'active' and f[2] ~= 'aggregating' then
            f[10] = call('ZSCORE', prefix .. f[2], id)
        end
        answer[i] = f
    else
        answer[i] = false
    end
end
return answer
