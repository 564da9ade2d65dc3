-- SPDX-License-Identifier: MIT
--
-- Where a job waits. asynq's own containers tell what state it is in; two sorted sets of ours beside them are an index
-- that knows the exact order, and an entry of theirs counts only while asynq's container agrees with it:
--
--   waiting   of jobs in "scheduled" or "retry" whose time has not come: scored by that time, to the microsecond. The
--             score in asynq's set is the next whole second, so that Go never runs one early.
--   order     of ready jobs that a list cannot keep in order (a priority, or one that belongs further ahead). They stay
--             in "scheduled" or "retry", with the score 1: due, for whoever else looks. A member is the job's place
--             (its time and its number of arrival, 18 and 16 digits) and its id; the score is its priority, negated.
--
-- All other ready jobs are in asynq's pending list, newest at the head.

-- Go lists no task of the year 10000.
local LAST_SECOND = 253402300799

local function next_second(at)
    local seconds = tonumber(string.sub(at, 1, 12))
    if string.sub(at, 13, 18) ~= '000000' then
        seconds = seconds + 1
    end
    return math.min(seconds, LAST_SECOND)
end

local function nanoseconds(now)
    return string.format('%.0f', tonumber(now)) .. '000'
end

local function new_arrival()
    return string.format('%016d', call('HINCRBY', KEYS[1], 'seq', 1))
end

local function put_waiting(id, state, place)
    local at = string.sub(place, 1, 18)
    call('ZADD', prefix .. state, next_second(at), id)
    call('ZADD', waiting, at, id)
    call('HSET', task .. id, 'state', state, 'nq:at', place)
end

local function read_place(id)
    local f = call('HMGET', task .. id, 'nq:at', 'nq:job')
    return place_of(f[1], f[2]) or ''
end

local function place_at(index)
    local id = call('LINDEX', pending, index)
    return id and read_place(id)
end

-- Makes the job ready. It is in no container but, maybe, `state`.
local function put_ready(id, state, place, rank, since)
    if rank == 0 then
        local newest, push = place_at(0), nil
        if not newest or newest < place then
            push = 'LPUSH'
        elseif place_at(-1) > place then
            push = 'RPUSH'
        end
        if push then
            call(push, pending, id)
            call('ZREM', prefix .. state, id)
            call('HSET', task .. id, 'state', 'pending', 'nq:at', place, 'pending_since', since)
            return
        end
    end
    call('ZADD', prefix .. state, 1, id)
    call('ZADD', order, rank, place .. id)
    call('HSET', task .. id, 'state', state, 'nq:at', place)
end

local function forward_ours(now, most, since)
    local due = call('ZRANGEBYSCORE', waiting, '-inf', now, 'LIMIT', 0, most)
    for _, id in ipairs(due) do
        local f = call('HMGET', task .. id, 'state', 'nq:at', 'nq:rank')
        local state, place = f[1], f[2]
        call('ZREM', waiting, id)
        if place and (state == 'scheduled' or state == 'retry') then
            local score = call('ZSCORE', prefix .. state, id)
            if score and tonumber(score) == next_second(place) then
                put_ready(id, state, place, tonumber(f[3] or 0), since)
            end
        end
    end
    return #due
end

-- Those that are due by asynq's own sets alone, as asynq forwards them.
local function forward_others(now, most, since)
    local seconds, count = tonumber(string.sub(now, 1, 12)), 0
    for _, state in ipairs({'scheduled', 'retry'}) do
        local due = call('ZRANGEBYSCORE', prefix .. state, 2, seconds, 'LIMIT', 0, most)
        for _, id in ipairs(due) do
            local f = call('HMGET', task .. id, 'msg', 'group')
            call('ZREM', prefix .. state, id)
            if f[1] and f[2] and f[2] ~= '' then
                call('ZADD', prefix .. 'g:' .. f[2], seconds, id)
                call('SADD', prefix .. 'groups', f[2])
                call('HSET', task .. id, 'state', 'aggregating')
            elseif f[1] then
                call('LPUSH', pending, id)
                call('HSET', task .. id, 'state', 'pending', 'pending_since', since)
            end
        end
        count = count + #due
    end
    return count
end

-- Makes ready what is due, up to `most` of each kind. True: there may be more.
local function forward(now, most)
    local since = nanoseconds(now)
    if forward_ours(now, most, since) >= most then
        return true
    end
    return forward_others(now, most, since) >= most
end

-- Makes the job dead, kept until then ("" = for ever). It is in no container.
local function put_dead(id, now, keep_until)
    call('ZADD', prefix .. 'archived', math.floor(tonumber(now) / 1000000), id)
    call('HSET', task .. id, 'state', 'archived', 'nq:end', now .. keep_until)
    call('HDEL', task .. id, 'pending_since', 'nq:cancel')
    if keep_until ~= '' then
        call('ZADD', keep, keep_until, id)
    end
end

-- Takes the job out of where its state says it is, and out of our index. A pending list is searched from its tail.
local function take_out(id, state, place, rank)
    if state == 'pending' then
        call('LREM', pending, -1, id)
    else
        call('ZREM', prefix .. state, id)
    end
    call('ZREM', waiting, id)
    call('ZREM', keep, id)
    if place then
        call('ZREM', order, place .. id)
    end
end
