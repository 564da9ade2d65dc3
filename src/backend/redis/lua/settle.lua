-- SPDX-License-Identifier: MIT
-- uses: keys place active count
--
-- All other ends of runs. ARGV: now, day, end of the day's counters, then for each: id, epoch, "1" if it is settled so
-- even though it was to be cancelled, asynq's state, message ("" = it stays), run_after, when the run began, its record
-- in the history, score in "completed" or "archived", when it ended, until when it is kept ("" = for ever), its result
-- ("" = none, else behind a "="), what it counts for ("", "p" processed, "f" failed too), "1" if the queue is to slow
-- down. The answer is that of done.lua.

local WIDTH, HISTORY = 14, 25
local now, answer, processed, failed = ARGV[1], {}, 0, 0

local function slow_down()
    local wait = tonumber(call('HGET', KEYS[1], 'slow_wait') or 0)
    wait = wait <= 0 and 100000 or wait >= 30000000 and 60000000 or wait * 2
    call('HSET', KEYS[1], 'slow_wait', wait, 'slow_until', string.format('%018.0f', tonumber(now) + wait))
end

local function end_job(id, key, i, lock, place)
    local state, keep_until, result = ARGV[i + 3], ARGV[i + 10], ARGV[i + 11]
    call('ZADD', prefix .. state, ARGV[i + 8], id)
    call('HSET', key, 'state', state, 'nq:at', place, 'nq:end', ARGV[i + 9] .. keep_until)
    if keep_until ~= '' then
        call('ZADD', keep, keep_until, id)
    end
    if result ~= '' then
        call('HSET', key, 'result', string.sub(result, 2))
    else
        call('HDEL', key, 'result')
    end
    release_lock(lock, id)
end

local gone = {}
for n = 1, (#ARGV - 3) / WIDTH do
    local i = 4 + (n - 1) * WIDTH
    local id, epoch, state = ARGV[i], ARGV[i + 1], ARGV[i + 3]
    local key = task .. id
    local f = call('HMGET', key, 'state', 'nq:run', 'nq:cancel', 'unique_key', 'nq:at', 'nq:rank', 'nq:job')
    local _, _, worker = read_run(f[2])
    if f[1] ~= 'active' or not is_run(f[2], epoch) or not is_ours(call('ZSCORE', lease, id)) then
        answer[#answer + 1] = {n, 1}
    elseif f[3] and ARGV[i + 2] == '0' then
        answer[#answer + 1] = {n, 2}
    else
        gone[#gone + 1] = id
        call('ZREM', lease, id)
        call('HDEL', key, 'nq:cancel', 'nq:run:' .. (tonumber(epoch) - HISTORY))
        call('HSET', key, 'nq:run', epoch .. ' ' .. ARGV[i + 6] .. ' ' .. (worker or ''), 'nq:run:' .. epoch,
             (worker or '') .. '\n' .. ARGV[i + 7])
        if ARGV[i + 4] ~= '' then
            call('HSET', key, 'msg', ARGV[i + 4])
        end
        local was = place_of(f[5], f[7])
        local place = ARGV[i + 5] .. (was and string.sub(was, 19) or new_arrival())
        if state == 'completed' or state == 'archived' then
            end_job(id, key, i, f[4], place)
        elseif state == 'pending' then
            put_ready(id, 'scheduled', place, tonumber(f[6] or 0), nanoseconds(now))
        else
            put_waiting(id, state, place)
        end
        processed = processed + (ARGV[i + 12] ~= '' and 1 or 0)
        failed = failed + (ARGV[i + 12] == 'f' and 1 or 0)
        if ARGV[i + 13] == '1' then
            slow_down()
        elseif state == 'completed' then
            call('HDEL', KEYS[1], 'slow_until', 'slow_wait')
        end
    end
end
leave_active(gone)
count('processed', ARGV[2], ARGV[3], processed)
count('failed', ARGV[2], ARGV[3], failed)
return answer
