-- SPDX-License-Identifier: MIT
-- uses: keys types
--
-- Counts tasks by type. ARGV: now, a container of asynq's, where to look in it. The answer: where to look next (-1 = that
-- was all), then of each type: its name, how many there are of it, how many of those wait for nothing but a worker though
-- they stand where others wait for their time.

local PAGE = 500
local name, from = ARGV[2], tonumber(ARGV[3])
local listed = name == 'pending' or name == 'active'
local ids = call(listed and 'LRANGE' or 'ZRANGE', prefix .. name, from, from + PAGE - 1)
local waits = name == 'scheduled' or name == 'retry'
local answer, place = {#ids == PAGE and from + PAGE or -1}, {}
for _, id in ipairs(ids) do
    local kind = type_of(id)
    if kind then
        local at = place[kind]
        if not at then
            at = #answer + 1
            place[kind] = at
            answer[at], answer[at + 1], answer[at + 2] = kind, 0, 0
        end
        answer[at + 1] = answer[at + 1] + 1
        if waits then
            local exact = call('ZSCORE', waiting, id) or tonumber(call('ZSCORE', prefix .. name, id)) * 1000000
            if tonumber(exact) <= tonumber(ARGV[1]) or call('ZSCORE', prefix .. name, id) == '1' then
                answer[at + 2] = answer[at + 2] + 1
            end
        end
    end
end
return answer
