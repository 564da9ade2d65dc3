-- SPDX-License-Identifier: MIT
--
-- Storing new jobs. ARGV from `first` on, for each: id, message, facts (ours alone), run_after, the key that locks its
-- fingerprint ("" = it is not unique, "\0" = its id is the fingerprint), and, where it is not ready or has a priority, its
-- rank (the priority, negated), behind an "s" if it is scheduled. The answer tells of those that were not simply stored:
-- its number, the status, and the id of the job that is there; and at its end, how many jobs had arrived before.

local EDUPLICATE, EFULL, EUNSUPPORTED, WIDTH = -3, -6, -12, 6
local OWN = '\0' -- in a lock's place
local unfinished = {pending = true, scheduled = true, retry = true, active = true}

-- How many more jobs the queue takes; nil = any number.
local function room()
    local capacity = tonumber(call('HGET', KEYS[1], 'capacity') or 0)
    if capacity > 0 then
        return capacity - call('LLEN', pending) - call('ZCARD', prefix .. 'scheduled') - call('ZCARD', prefix .. 'retry')
    end
end

-- The locks of the new jobs, each followed by its job's id, and whether they are all different.
local function list_locks(first)
    local locks, count, seen, differ = {}, 0, {}, true
    for i = first, #ARGV, WIDTH do
        local lock = ARGV[i + 4]
        if lock ~= '' and lock ~= OWN then
            locks[count + 1] = lock
            locks[count + 2] = ARGV[i]
            count = count + 2
            differ = differ and not seen[lock]
            seen[lock] = true
        end
    end
    return locks, differ
end

-- Who has those locks, by lock.
local function read_holders(locks)
    local asked, holders = {}, {}
    for i = 1, #locks, 2 do
        asked[#asked + 1] = locks[i]
    end
    if #asked > 0 then
        for n, id in ipairs(call('MGET', unpack(asked))) do
            holders[asked[n]] = id
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

local function put_elsewhere(id, key, rank, place, since)
    local number = tonumber(string.match(rank, '^s?(.*)'))
    call('HDEL', key, 'pending_since')
    if number ~= 0 then
        call('HSET', key, 'nq:rank', string.format('%.0f', number))
    end
    if string.sub(rank, 1, 1) == 's' then
        put_waiting(id, 'scheduled', place)
    else
        put_ready(id, 'scheduled', place, number, since)
    end
end

local function store(first, now)
    local answer, plain, plains, seen, tasks = {}, {}, 0, {}, {}
    for i = first, #ARGV, WIDTH do
        tasks[#tasks + 1] = task .. ARGV[i]
    end
    local known = #tasks > 0 and call('EXISTS', unpack(tasks)) > 0
    local left, since = room(), nanoseconds(now)
    local locks, differ = list_locks(first)
    -- Mostly nobody has any of these, every job is stored, and so all locks are taken at once.
    local locked = #locks > 0 and differ and not known and not left and call('MSETNX', unpack(locks)) == 1
    local holders, taken = locked and {} or read_holders(locks), {}
    local arrival = call('HINCRBY', KEYS[1], 'seq', #tasks) - #tasks
    for n, key in ipairs(tasks) do
        local i = first + (n - 1) * WIDTH
        local id, lock, rank = ARGV[i], ARGV[i + 4], ARGV[i + 5]
        local own = lock == OWN
        if own or lock == '' then
            lock = nil
        end
        local full = left and left <= 0
        if not seen[id] and not (known and call('EXISTS', key) == 1) then
            local twin = lock and not locked and guard(lock, holders[lock])
            if twin then
                answer[#answer + 1] = {n, EDUPLICATE, twin}
            elseif full then
                answer[#answer + 1] = {n, EFULL, id}
            else
                seen[id] = true
                left = left and left - 1
                local number = string.format('%016d', arrival + n)
                local facts = ARGV[i + 3] .. number .. ARGV[i + 2]
                if lock then
                    call('HSET', key, 'msg', ARGV[i + 1], 'state', 'pending', 'pending_since', since, 'nq:job', facts,
                         'unique_key', lock)
                else
                    call('HSET', key, 'msg', ARGV[i + 1], 'state', 'pending', 'pending_since', since, 'nq:job', facts)
                end
                if lock and not locked then
                    holders[lock] = id
                    taken[#taken + 1] = lock
                    taken[#taken + 1] = id
                end
                if rank ~= '' then
                    put_elsewhere(id, key, rank, ARGV[i + 3] .. number, since)
                else
                    plains = plains + 1
                    plain[plains] = id
                end
            end
        elseif own then
            answer[#answer + 1] = {n, unfinished[call('HGET', key, 'state')] and EDUPLICATE or EUNSUPPORTED, id}
        end
    end
    if #taken > 0 then
        call('MSET', unpack(taken))
    end
    if plains > 0 then
        call('LPUSH', pending, unpack(plain))
    end
    answer[#answer + 1] = arrival
    return answer
end
