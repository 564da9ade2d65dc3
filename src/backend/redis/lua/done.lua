-- SPDX-License-Identifier: MIT
-- uses: keys active count
--
-- Runs that are done and leave nothing behind. ARGV: day, end of the day's counters, then id and epoch of each. The
-- answer tells of the others: number and 1 (the run is not this worker's any more) or 2 (it is to be cancelled).

local answer, ids, keys, locks, owners, all = {}, {}, {}, {}, {}, {}
for i = 3, #ARGV, 2 do
    all[#all + 1] = ARGV[i]
end
for n, id in ipairs(all) do
    local key = task .. id
    local f = call('HMGET', key, 'state', 'nq:run', 'nq:cancel', 'unique_key', 'pending_since')
    if f[1] ~= 'active' or not is_run(f[2], ARGV[2 * n + 2]) or not (f[3] or f[5]) or keys[key] then
        answer[#answer + 1] = {n, 1}
    elseif f[3] then
        answer[#answer + 1] = {n, 2}
    else
        keys[key] = true
        keys[#keys + 1] = key
        ids[#ids + 1] = id
        if f[4] then
            locks[#locks + 1] = f[4]
            owners[#owners + 1] = id
        end
    end
end
if #ids > 0 then
    leave_active(ids)
    call('ZREM', lease, unpack(ids))
    call('DEL', unpack(keys))
    count('processed', ARGV[1], ARGV[2], #ids)
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
