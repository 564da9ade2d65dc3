-- SPDX-License-Identifier: MIT
-- uses: keys place
--
-- ARGV: now. The answer: "1" if there was more to make ready than one call does, whether it is paused, jobs that are
-- scheduled, ready, running, retrying, done, dead; runs processed and failed; the place of the first job that is ready.

local LEVELS = 32
local more = forward(ARGV[1], 100)
local first

local function consider(place)
    if place and place ~= '' and (not first or place < first) then
        first = place
    end
end

consider(place_at(-1))
if not first then
    local id = call('LINDEX', pending, -1)
    local since = id and call('HGET', task .. id, 'pending_since')
    first = since and string.format('%018.0f', math.floor(tonumber(since) / 1000))
end
local level = call('ZRANGE', order, 0, 0, 'WITHSCORES')
for _ = 1, LEVELS do
    if not level[1] then
        break
    end
    consider(string.sub(level[1], 1, 34))
    level = call('ZRANGEBYSCORE', order, '(' .. level[2], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
end

local function ordered(state)
    return call('ZCOUNT', prefix .. state, '-inf', '(2')
end

return {
    more and 1 or 0, call('EXISTS', prefix .. 'paused'), call('ZCOUNT', prefix .. 'scheduled', 2, '+inf'),
    call('LLEN', pending) + ordered('scheduled') + ordered('retry'), call('LLEN', active),
    call('ZCOUNT', prefix .. 'retry', 2, '+inf'), call('ZCARD', prefix .. 'completed'),
    call('ZCARD', prefix .. 'archived'), call('GET', prefix .. 'processed') or '0',
    call('GET', prefix .. 'failed') or '0', first and string.sub(first, 1, 18) or ''
}
