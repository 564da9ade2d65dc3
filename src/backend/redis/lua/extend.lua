-- SPDX-License-Identifier: MIT
-- uses: keys
--
-- Renews the leases of runs. ARGV: score, then id and epoch of each. The answer: the ids of those that are to be
-- cancelled, '', and the ids of those that are not this worker's any more.

local answer, leases, lost = {}, {}, {''}
for i = 2, #ARGV, 2 do
    local id = ARGV[i]
    local f = call('HMGET', task .. id, 'state', 'nq:run', 'nq:cancel')
    if f[1] == 'active' and is_run(f[2], ARGV[i + 1]) and is_ours(call('ZSCORE', lease, id)) then
        leases[#leases + 1] = ARGV[1]
        leases[#leases + 1] = id
        if f[3] then
            answer[#answer + 1] = id
        end
    else
        lost[#lost + 1] = id
    end
end
if #leases > 0 then
    go_on_when_full()
    call('ZADD', lease, 'XX', unpack(leases))
end
for _, id in ipairs(lost) do
    answer[#answer + 1] = id
end
return answer
