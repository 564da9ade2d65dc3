-- SPDX-License-Identifier: MIT
--
-- asynq's counters: of the day and of all time.

local function count(name, day, expires_at, more)
    if more > 0 then
        local key = prefix .. name .. ':' .. day
        if call('INCRBY', key, more) == more then
            call('EXPIREAT', key, expires_at)
        end
        call('INCRBY', prefix .. name, more)
    end
end
