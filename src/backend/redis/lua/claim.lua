-- SPDX-License-Identifier: MIT
-- uses: keys place types
--
-- The next ready jobs of the queue, in order, as runs of this worker. ARGV: now, how many, worker, score of the lease,
-- how many microseconds are left of it at least by this server's clock (0 = as many as there are), and, where the queue has
-- the jobs of others, too, the type of those that are wanted. The answer: when the next one falls due ("" = none does, or
-- there are more now), how many jobs ever arrived, then of each run id, message, facts, place ("" = its facts tell) and
-- epoch. Or "closed": the queue is paused; or "slow" and when it is worth while to claim from it again.

local now, most = ARGV[1], tonumber(ARGV[2])

-- Mostly there is none of these, and nothing but the list to look at.
local special = call('EXISTS', prefix .. 'paused', prefix .. 'scheduled', prefix .. 'retry', waiting, order) > 0
if special and call('EXISTS', prefix .. 'paused') == 1 then
    return {'closed'}
end
local more = special and forward(now, 100)

-- When the next job falls due that is not ready.
local function next_due()
    local next = more and now or nil
    if not special then
        return next or ''
    end
    local first = call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2]
    if first and not next then
        next = string.format('%018.0f', tonumber(first))
    end
    for _, state in ipairs({'scheduled', 'retry'}) do
        local score = call('ZRANGEBYSCORE', prefix .. state, 2, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
        if score then
            local at = string.format('%012.0f000000', tonumber(score))
            next = next and next < at and next or at
        end
    end
    return next or ''
end

local facts = call('HMGET', KEYS[1], 'slow_until', 'seq', 'cancelled')
local slow_until = facts[1]
if slow_until and slow_until > now then
    local ready = call('EXISTS', pending) == 1 or call('EXISTS', order) == 1
    return {'slow', ready and slow_until or next_due()}
end

-- One that Go has taken meanwhile is not where the index says any more.
local function take_ordered(id)
    local state = call('HGET', task .. id, 'state')
    if state ~= 'scheduled' and state ~= 'retry' then
        return false
    end
    if call('ZSCORE', prefix .. state, id) ~= '1' then
        return false
    end
    call('ZREM', prefix .. state, id)
    return true
end

-- Merges the two: by rank, then by place.
local function take_in_order()
    local first = call('ZRANGE', order, 0, most - 1, 'WITHSCORES')
    local listed = call('LRANGE', pending, -most, -1)
    local taken, at, left, place = {}, 1, #listed, nil
    while #taken < most and (left > 0 or at <= #first) do
        local rank, listed_first = tonumber(first[at + 1] or 1), false
        if left > 0 and rank >= 0 then
            place = place or read_place(listed[left])
            listed_first = rank > 0 or place < string.sub(first[at], 1, 34)
        end
        if listed_first then
            taken[#taken + 1] = listed[left]
            left, place = left - 1, nil
        else
            local id = string.sub(first[at], 35)
            call('ZREM', order, first[at])
            if take_ordered(id) then
                call('HSET', task .. id, 'state', 'pending')
                taken[#taken + 1] = id
            end
            at = at + 2
        end
    end
    if left < #listed then
        call('RPOP', pending, #listed - left)
    end
    return taken, at > 1 and at > #first and call('EXISTS', order) == 1
end

local taken
if ARGV[6] then
    local again
    taken, again = take_of_type(ARGV[6], most, take_ordered)
    more = more or again
elseif special and call('EXISTS', order) == 1 then
    local again
    taken, again = take_in_order()
    more = more or again
else
    taken = call('RPOP', pending, most) or {}
end

-- To Go a run of its own that we cancelled has failed, and is retried. What was put back by hand, which leaves no
-- pending_since, is wanted again.
local function bury_cancelled(id)
    local f = call('HMGET', task .. id, 'nq:cancel', 'pending_since')
    local cancel = f[1]
    if cancel and f[2] then
        release_lock(call('HGET', task .. id, 'unique_key'), id)
        put_dead(id, now, string.sub(cancel, 19))
        more = true -- there may be others in its stead
        return true
    elseif cancel then
        call('HDEL', task .. id, 'nq:cancel')
    end
    return false
end

-- The call may have waited so long for the server that its lease is over.
local until_score = ARGV[4]
if ARGV[5] ~= '0' and #taken > 0 then
    local time = call('TIME')
    local us = time[2] + ARGV[5]
    local least = string.format('%.0f.%06.0f', time[1] + math.floor(us / 1000000), math.max(us % 1000000, 1))
    until_score = least > until_score and least or until_score
end

-- An id without a job, or of one that is elsewhere, goes. What most jobs need is written so that it costs little: text
-- that is made once, and nothing that makes more of it.
local ids, leases, count, answer, last = {}, {}, 0, {'', facts[2] or '0'}, 2
local began_now = ' ' .. now .. ' ' .. ARGV[3]
local first_run = '1' .. began_now
for i = 1, #taken do
    local id = taken[i]
    local key = task .. id
    local f = call('HMGET', key, 'msg', 'state', 'nq:job', 'nq:at', 'nq:run')
    if f[1] and f[2] == 'pending' and not (facts[3] and bury_cancelled(id)) then
        local place, epoch, run = f[4] or f[3] or '', 1, first_run
        if f[5] or place > now then
            epoch = (read_run(f[5]) or 0) + 1
            run = epoch .. (place > now and ' ' .. string.sub(place, 1, 18) .. ' ' .. ARGV[3] or began_now)
        end
        call('HSET', key, 'state', 'active', 'nq:run', run)
        count = count + 1
        ids[count] = id
        leases[2 * count - 1] = until_score
        leases[2 * count] = id
        answer[last + 1] = id
        answer[last + 2] = f[1]
        answer[last + 3] = f[3] or ''
        answer[last + 4] = f[4] or ''
        answer[last + 5] = epoch
        last = last + 5
    end
end
if count > 0 then
    call('LPUSH', active, unpack(ids))
    call('ZADD', lease, unpack(leases))
end

if count < most then
    answer[1] = next_due()
end
return answer
