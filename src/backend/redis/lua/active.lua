-- SPDX-License-Identifier: MIT
--
-- Leaving the active list. Short jobs leave it at its tail, where those are that have been there longest: that end is
-- cut off, and what stays is put back. Where few leave, they are searched for: from the tail if they are near it, else,
-- behind long jobs or what a dead worker left, from the head.

local function leave_active(ids)
    local leaving, near, last, found = {}, {}, nil, 0
    for _, id in ipairs(ids) do
        leaving[id] = true
    end
    local tail = #ids > 0 and call('LRANGE', active, -2 * #ids - 8, -1) or {}
    for i = #tail, 1, -1 do
        if leaving[tail[i]] then
            near[tail[i]], last, found = true, i, found + 1
        end
    end
    if last and 2 * found > #tail - last then
        local staying = {}
        for i = last, #tail do
            if leaving[tail[i]] then
                leaving[tail[i]] = nil
            else
                staying[#staying + 1] = tail[i]
            end
        end
        call('RPOP', active, #tail - last + 1)
        if #staying > 0 then
            call('RPUSH', active, unpack(staying))
        end
    end
    for _, id in ipairs(ids) do
        if leaving[id] then
            call('LREM', active, near[id] and -1 or 1, id)
        end
    end
end
