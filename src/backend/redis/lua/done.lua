-- SPDX-License-Identifier: MIT
-- uses: keys active count
--
-- Runs that are done and leave nothing behind. ARGV: day, end of the day's counters, then id and epoch of each. The
-- answer tells of the others: number and 1 (the run is not this worker's any more) or 2 (it is to be cancelled).

local answer, ids, keys, ended, locks, owners = {}, {}, {}, 0, {}, {}
for i = 3, #ARGV, 2 do
    local id = ARGV[i]
    local key = task .. id
    local f = call('HMGET', key, 'state', 'nq:run', 'pending_since', 'unique_key')
    local ours = f[1] == 'active' and is_run(f[2], ARGV[i + 1]) and not keys[key]
    local cancelled = false
    if ours and not f[3] then -- taken away by who cancels it, and by Go, which begins a run or put the job back by hand
        cancelled = call('HEXISTS', key, 'nq:cancel') == 1
        ours = cancelled or is_ours(call('ZSCORE', lease, id))
    end
    if ours and not cancelled then
        ended = ended + 1
        keys[key] = true
        keys[ended] = key
        ids[ended] = id
        if f[4] then
            locks[#locks + 1] = f[4]
            owners[#owners + 1] = id
        end
    else
        answer[#answer + 1] = {(i - 1) / 2, cancelled and 2 or 1}
    end
end
if ended > 0 then
    leave_active(ids)
    call('ZREM', lease, unpack(ids))
    call('DEL', unpack(keys))
    count('processed', ARGV[1], ARGV[2], ended)
    if call('HEXISTS', KEYS[1], 'slow_until') == 1 then
        call('HDEL', KEYS[1], 'slow_until', 'slow_wait')
    end
end
if #locks > 0 then
    local held = {}
    for i, owner in ipairs(call('MGET', unpack(locks))) do
        if owner == owners[i] then
            held[#held + 1] = locks[i]
        end
    end
    if #held > 0 then
        call('DEL', unpack(held))
    end
end
return answer
