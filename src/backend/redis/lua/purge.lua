-- SPDX-License-Identifier: MIT
-- uses: keys place
--
-- Deletes up to a hundred jobs. ARGV: now, which ("pending" = ready, "scheduled", "retry", "completed", "archived"). The
-- answer: how many were deleted, and "1" if there may be more.

local which, deleted, more = ARGV[2], 0, forward(ARGV[1], 100)

local function delete(ids)
    for _, id in ipairs(ids) do
        local lock = call('HGET', task .. id, 'unique_key')
        call('ZREM', waiting, id)
        call('ZREM', keep, id)
        release_lock(lock, id)
        deleted = deleted + call('DEL', task .. id)
    end
    more = more or #ids == 100
end

if which == 'pending' then
    delete(call('RPOP', pending, 100) or {})
    for _, state in ipairs({'scheduled', 'retry'}) do
        local ids = call('ZRANGEBYSCORE', prefix .. state, '-inf', '(2', 'LIMIT', 0, 100)
        for _, id in ipairs(ids) do
            local place = call('HGET', task .. id, 'nq:at')
            call('ZREM', prefix .. state, id)
            if place then
                call('ZREM', order, place .. id)
            end
        end
        delete(ids)
    end
else
    local ids = call('ZRANGEBYSCORE', prefix .. which, 2, '+inf', 'LIMIT', 0, 100)
    if #ids > 0 then
        call('ZREM', prefix .. which, unpack(ids))
    end
    delete(ids)
end
return {deleted, more and 1 or 0}
