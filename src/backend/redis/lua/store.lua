-- SPDX-License-Identifier: MIT
--
-- Storing new jobs. ARGV from `first` on, for each: id, message, facts (ours alone), run_after, rank (the priority,
-- negated), fingerprint ("" = not unique, "\0" = its id is that), "1" if it is scheduled. The answer tells of those that
-- were not simply stored: its number, the status, and the id of the job that is there; and at its end, how many jobs had
-- arrived before.

local EDUPLICATE, EFULL, EUNSUPPORTED, WIDTH = -3, -6, -12, 7
local OWN = '\0' -- in a fingerprint's place
local unfinished = {pending = true, scheduled = true, retry = true, active = true}

-- How many more jobs the queue takes; nil = any number.
local function room()
    local capacity = tonumber(call('HGET', KEYS[1], 'capacity') or 0)
    if capacity > 0 then
        return capacity - call('LLEN', pending) - call('ZCARD', prefix .. 'scheduled') - call('ZCARD', prefix .. 'retry')
    end
end

local function lock_of(print)
    return prefix .. 'unique:neoq:' .. print
end

-- Who has the locks of the new jobs, by lock.
local function read_holders(first)
    local locks, holders = {}, {}
    for i = first, #ARGV, WIDTH do
        if ARGV[i + 5] ~= '' and ARGV[i + 5] ~= OWN then
            locks[#locks + 1] = lock_of(ARGV[i + 5])
        end
    end
    if #locks > 0 then
        for n, id in ipairs(call('MGET', unpack(locks))) do
            holders[locks[n]] = id
        end
    end
    return holders
end

-- The unfinished job that guards the fingerprint; a lock that somebody left behind guards nothing.
local function guard(lock, id)
    if id then
        local f = call('HMGET', task .. id, 'state', 'unique_key')
        return unfinished[f[1]] and f[2] == lock and id
    end
end

local function store(first, now)
    local answer, plain, seen, tasks, locks = {}, {}, {}, {}, {}
    for i = first, #ARGV, WIDTH do
        tasks[#tasks + 1] = task .. ARGV[i]
    end
    local known = #tasks > 0 and call('EXISTS', unpack(tasks)) > 0
    local left, since, holders = room(), nanoseconds(now), read_holders(first)
    local arrival = call('HINCRBY', KEYS[1], 'seq', #tasks) - #tasks
    for n, key in ipairs(tasks) do
        local i = first + (n - 1) * WIDTH
        local id, rank, print = ARGV[i], ARGV[i + 4], ARGV[i + 5]
        local own = print == OWN
        local lock = not own and print ~= '' and lock_of(print)
        local full = left and left <= 0
        if not seen[id] and not (known and call('EXISTS', key) == 1) then
            local twin = lock and guard(lock, holders[lock])
            if twin then
                answer[#answer + 1] = {n, EDUPLICATE, twin}
            elseif full then
                answer[#answer + 1] = {n, EFULL, id}
            else
                seen[id] = true
                left = left and left - 1
                local place = ARGV[i + 3] .. string.format('%016d', arrival + n)
                if lock then
                    holders[lock] = id
                    locks[#locks + 1] = lock
                    locks[#locks + 1] = id
                    call('HSET', key, 'msg', ARGV[i + 1], 'state', 'pending', 'pending_since', since, 'nq:job',
                         ARGV[i + 2], 'nq:at', place, 'unique_key', lock)
                else
                    call('HSET', key, 'msg', ARGV[i + 1], 'state', 'pending', 'pending_since', since, 'nq:job',
                         ARGV[i + 2], 'nq:at', place)
                end
                if rank ~= '0' then
                    call('HSET', key, 'nq:rank', rank)
                end
                if ARGV[i + 6] == '1' then
                    call('HDEL', key, 'pending_since')
                    put_waiting(id, 'scheduled', place)
                elseif rank ~= '0' then
                    call('HDEL', key, 'pending_since')
                    put_ready(id, 'scheduled', place, tonumber(rank), since)
                else
                    plain[#plain + 1] = id
                end
            end
        elseif own then
            answer[#answer + 1] = {n, unfinished[call('HGET', key, 'state')] and EDUPLICATE or EUNSUPPORTED, id}
        end
    end
    if #locks > 0 then
        call('MSET', unpack(locks))
    end
    if #plain > 0 then
        call('LPUSH', pending, unpack(plain))
    end
    answer[#answer + 1] = arrival
    return answer
end
