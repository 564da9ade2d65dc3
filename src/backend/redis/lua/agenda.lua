-- SPDX-License-Identifier: MIT
--
-- Shows a process's schedules to asynq's tools: all of them at once. KEYS: the list. ARGV: its life in seconds, entries.

local call = redis.call
call('DEL', KEYS[1])
if #ARGV > 1 then
    call('LPUSH', KEYS[1], unpack(ARGV, 2))
    call('EXPIRE', KEYS[1], ARGV[1])
end
return #ARGV - 1
