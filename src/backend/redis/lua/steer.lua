-- SPDX-License-Identifier: MIT
-- uses: keys place
--
-- ARGV: now, what ("retry", "cancel", "delete"), id, and state, epoch and place as the caller has seen them, a message
-- ("" = it stays), until when the job is kept ("" = for ever). The answer: "ok", "again" (it is not as it was seen), or
-- the id of another job with its fingerprint.

local now, what, id = ARGV[1], ARGV[2], ARGV[3]
local key = task .. id
local f = call('HMGET', key, 'state', 'nq:run', 'nq:at', 'unique_key', 'nq:rank', 'nq:job')
local state, place, lock = f[1], f[3], f[4]
if state ~= ARGV[4] or (read_run(f[2]) or '') ~= ARGV[5] or (place or '') ~= ARGV[6] then
    return 'again'
end
if state == 'aggregating' then
    return 'again'
end

if what == 'cancel' and state == 'active' then
    go_on_when_full()
    call('HSET', key, 'nq:cancel', now .. ARGV[8])
    call('HDEL', key, 'pending_since')
    call('HSET', KEYS[1], 'cancelled', 1)
    return 'ok'
end

if what == 'retry' then
    if state == 'archived' and lock then
        local holder = call('GET', lock)
        if holder and holder ~= id then
            local h = call('HMGET', task .. holder, 'state', 'unique_key')
            if h[2] == lock and h[1] ~= 'archived' and h[1] ~= 'completed' then
                return holder
            end
        end
        call('SET', lock, id)
    end
    take_out(id, state, place, f[5])
    local was = place_of(place, f[6])
    put_ready(id, 'scheduled', now .. (was and string.sub(was, 19) or new_arrival()), tonumber(f[5] or 0),
              nanoseconds(now))
    call('HDEL', key, 'nq:end', 'nq:cancel')
    if ARGV[7] ~= '' then
        call('HSET', key, 'msg', ARGV[7])
    end
    return 'ok'
end

take_out(id, state, place, f[5])
release_lock(lock, id)
if what == 'delete' then
    call('DEL', key)
else
    call('HSET', key, 'msg', ARGV[7])
    put_dead(id, now, ARGV[8])
end
return 'ok'
