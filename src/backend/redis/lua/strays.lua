-- SPDX-License-Identifier: MIT
-- uses: keys
--
-- Runs of a worker, for one that did not get the answer to a claim of its own. ARGV: worker, where to look. The answer:
-- where to look next (-1 = that was all), then id and epoch of each.

local from = tonumber(ARGV[2])
local ids = call('ZRANGE', lease, from, from + 99)
local answer = {#ids == 100 and from + 100 or -1}
for _, id in ipairs(ids) do
    local f = call('HMGET', task .. id, 'nq:run', 'state')
    local epoch, _, worker = read_run(f[1])
    if worker == ARGV[1] and f[2] == 'active' and is_ours(call('ZSCORE', lease, id)) then
        answer[#answer + 1] = {id, epoch}
    end
end
return answer
