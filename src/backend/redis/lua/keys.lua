-- SPDX-License-Identifier: MIT
--
-- What every script begins with. KEYS[1] is the queue's own hash, "asynq:{queue}:neoq"; all other keys of the queue are
-- named after it and share its slot. Instants are microseconds in 18 decimal digits, so that text compares as numbers
-- do, also where a double would round.

local call = redis.call
local prefix = string.sub(KEYS[1], 1, -5)
local task = prefix .. 't:'
local pending, active, lease = prefix .. 'pending', prefix .. 'active', prefix .. 'lease'
local waiting, order, keep = prefix .. 'neoq:waiting', prefix .. 'neoq:order', prefix .. 'neoq:keep'

-- A lease that a neoq wrote has a fraction, one of Go's has none: so a run that Go took over since is told apart.
local function is_ours(score)
    return score and string.find(score, '.', 1, true)
end

-- A server whose memory is full lets a script go on that has begun to write by taking something away: so what is needed to
-- get jobs done begins with this.
local function go_on_when_full()
    call('ZREM', lease, '')
end

-- The job's last run, "EPOCH BEGAN WORKER": these three; none of a job that never ran.
local function read_run(text)
    return string.match(text or '', '^(%d+) (%d+) (.*)$')
end

-- Whether it is run so and so often. Go's workers leave the text alone (see done.lua).
local function is_run(text, epoch)
    return text and string.sub(text, 1, #epoch + 1) == epoch .. ' ' or not text and epoch == '0'
end

-- The job's place in the order (see place.lua): where it was put last, or else where it came to, before its facts.
local function place_of(at, facts)
    return at or facts and string.sub(facts, 1, 34)
end

local function release_lock(lock, id)
    if lock and call('GET', lock) == id then
        call('DEL', lock)
    end
end
