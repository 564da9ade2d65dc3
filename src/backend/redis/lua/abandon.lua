-- SPDX-License-Identifier: MIT
-- uses: keys
--
-- Ends the leases of workers that are gone. ARGV: an instant that is over, as a score; where to look; their names. The
-- answer: where to look next, -1 = that was all.

local gone, from = {}, tonumber(ARGV[2])
for i = 3, #ARGV do
    gone[ARGV[i]] = true
end
go_on_when_full()
local found = call('ZREVRANGEBYSCORE', lease, '+inf', '(' .. ARGV[1], 'WITHSCORES', 'LIMIT', from, 100)
local next = from + #found / 2
for i = 1, #found, 2 do
    local id = found[i]
    local _, _, worker = read_run(call('HGET', task .. id, 'nq:run'))
    if is_ours(found[i + 1]) and gone[worker or ''] then
        call('ZADD', lease, ARGV[1], id)
        next = next - 1 -- it is over now, and the rest moved up
    end
end
return #found == 200 and next or -1
