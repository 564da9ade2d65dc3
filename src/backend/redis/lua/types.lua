-- SPDX-License-Identifier: MIT
--
-- Where one queue of asynq's has the jobs of all of ours (layout.h), a task's type says whose it is. It is what a message
-- begins with: so Go writes it, and neoq.

local LOOKED = 1000 -- tasks that a call looks at, of those with a priority and of the others each

local function type_of(id)
    local message = call('HGET', task .. id, 'msg')
    local first, size, high = string.byte(message or '', 1, 3)
    if first ~= 10 or not size then
        return nil
    elseif size < 128 then
        return string.sub(message, 3, 2 + size)
    end
    return high and string.sub(message, 4, 3 + size - 128 + 128 * high)
end

-- Takes up to `most` ready jobs of that type: those of higher priority, then the list from its tail, then the rest. Where
-- more than LOOKED of others stand in the way, the next call goes on behind them. True: it should.
local function take_of_type(kind, most, take_ordered)
    local taken, again = {}, false

    local function from(what, size)
        local at = size > LOOKED and tonumber(call('HGET', KEYS[1], 'from:' .. what .. kind) or 0) or 0
        return at < size and at or 0
    end

    local function go_on(what, at, size)
        if size > LOOKED and #taken < most then
            local rest = at + LOOKED < size
            call('HSET', KEYS[1], 'from:' .. what .. kind, rest and at + LOOKED or 0)
            again = again or rest
        end
    end

    local ranked, next_ranked = call('ZCARD', order), 1
    local begin = from('order:', ranked)
    local ordered = ranked > 0 and call('ZRANGE', order, begin, begin + LOOKED - 1, 'WITHSCORES') or {}
    local function take_ranked(lowest)
        while next_ranked < #ordered and #taken < most and tonumber(ordered[next_ranked + 1]) <= lowest do
            local member = ordered[next_ranked]
            local id = string.sub(member, 35)
            local its = type_of(id)
            if its == kind or not its then
                call('ZREM', order, member)
            end
            if its == kind and take_ordered(id) then
                call('HSET', task .. id, 'state', 'pending')
                taken[#taken + 1] = id
            end
            next_ranked = next_ranked + 2
        end
    end

    take_ranked(0)
    local size = call('LLEN', pending)
    local at = from('list:', size)
    local listed = call('LRANGE', pending, -at - LOOKED, -at - 1)
    for i = #listed, 1, -1 do
        if #taken < most and type_of(listed[i]) == kind then
            call('LREM', pending, -1, listed[i])
            taken[#taken + 1] = listed[i]
        end
    end
    go_on('list:', at, size)
    take_ranked(math.huge)
    go_on('order:', begin, ranked)
    return taken, again
end
