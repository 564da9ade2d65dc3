-- SPDX-License-Identifier: MIT
-- uses: keys
--
-- Puts a schedule; one of the same spec and kind keeps its ticks. ARGV: name, spec, kind, last, next, record.

local key = prefix .. 'neoq:schedule:' .. ARGV[1]
local f = call('HMGET', key, 'spec', 'kind', 'last', 'next')
local same = f[1] == ARGV[2] and f[2] == ARGV[3]
call('HSET', key, 'spec', ARGV[2], 'kind', ARGV[3], 'last', same and f[3] or ARGV[4], 'next', same and f[4] or ARGV[5],
     'record', ARGV[6])
return 1
