-- SPDX-License-Identifier: MIT
-- uses: keys place store
--
-- ARGV: now, then jobs as store.lua has them.

return store(2, ARGV[1])
