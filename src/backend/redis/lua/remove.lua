-- SPDX-License-Identifier: MIT
-- uses: keys
--
-- Forgets a queue that is empty. The answer: how many of its jobs are running, or -1 if there are others left.

local running = call('LLEN', active)
if running > 0 then
    return running
end
for _, state in ipairs({'scheduled', 'retry', 'completed', 'archived'}) do
    if call('EXISTS', prefix .. state) == 1 then
        return -1
    end
end
if call('EXISTS', pending) == 1 then
    return -1
end
local arrivals = call('HGET', KEYS[1], 'seq')
call('DEL', KEYS[1], waiting, order, keep, lease, prefix .. 'paused', prefix .. 'processed', prefix .. 'failed')
if arrivals then
    call('HSET', KEYS[1], 'seq', arrivals) -- who remembers it would miss those who are gone
end
return 0
