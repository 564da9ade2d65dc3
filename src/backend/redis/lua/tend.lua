-- SPDX-License-Identifier: MIT
-- uses: keys
--
-- Deletes what retention is over for, and finds runs whose lease is over. ARGV: now, how many of either, and where in the
-- active list to look for what nobody has a lease on. The answer: how many were deleted, where to look next, and the runs:
-- id, message, facts, place, epoch, when it began. They are the caller's to settle for a while, and then anybody's.

local GRACE = 10
local now, most, most_lost, from = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local seconds = string.format('%.0f', tonumber(string.sub(now, 1, 12)))
local deleted = 0

local function delete(id, state)
    local lock = call('HGET', task .. id, 'unique_key')
    call('ZREM', prefix .. state, id)
    call('DEL', task .. id)
    release_lock(lock, id)
    deleted = deleted + 1
end

-- asynq's score of a completed task is when it is to be deleted, too; neoq's own jobs know it better.
local function delete_kept()
    for _, id in ipairs(call('ZRANGEBYSCORE', keep, '-inf', now, 'LIMIT', 0, most)) do
        local f = call('HMGET', task .. id, 'state', 'nq:end')
        call('ZREM', keep, id)
        if (f[1] == 'completed' or f[1] == 'archived') and f[2] and string.sub(f[2], 19) <= now then
            delete(id, f[1])
        end
    end
    if deleted < most then
        for _, id in ipairs(call('ZRANGEBYSCORE', prefix .. 'completed', '-inf', seconds, 'LIMIT', 0, most - deleted)) do
            local ends = call('HGET', task .. id, 'nq:end')
            if not ends or #ends <= 18 or string.sub(ends, 19) <= now then
                delete(id, 'completed')
            end
        end
    end
end

-- Nothing is ever in one of the two alone between scripts, but what a failed one of somebody else's left there: it
-- gets a lease that is over.
local function find_orphans()
    if call('LLEN', active) == call('ZCARD', lease) then
        return 0
    end
    local ids = call('LRANGE', active, from, from + 99)
    for _, id in ipairs(ids) do
        if not call('ZSCORE', lease, id) then
            call('ZADD', lease, (tonumber(seconds) - 1) .. '.5', id)
        end
    end
    return #ids == 100 and from + 100 or 0
end

-- Go's leases are over half a minute late, as Go has it.
local function find_lost(answer)
    local found = call('ZRANGEBYSCORE', lease, '-inf', '(' .. string.sub(now, 1, 12) .. '.' .. string.sub(now, 13, 18),
                       'WITHSCORES', 'LIMIT', 0, 2 * most_lost)
    for i = 1, #found, 2 do
        local id, score = found[i], found[i + 1]
        local f = call('HMGET', task .. id, 'msg', 'state', 'nq:job', 'nq:at', 'nq:run')
        if not f[1] or f[2] ~= 'active' then
            call('ZREM', lease, id)
            call('LREM', active, 0, id)
            if not f[1] then
                call('DEL', task .. id)
            end
        elseif #answer < most_lost + 2 and (is_ours(score) or tonumber(score) + 30 <= tonumber(seconds)) then
            call('ZADD', lease, string.format('%.0f.5', tonumber(seconds) + GRACE), id)
            local epoch, began = read_run(f[5])
            answer[#answer + 1] = {id, f[1], f[3] or '', f[4] or '', epoch or '0', began or ''}
        end
    end
end

go_on_when_full()
if most > 0 then
    delete_kept()
end
local answer = {0, find_orphans()}
find_lost(answer)
answer[1] = deleted
return answer
