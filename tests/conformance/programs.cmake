# SPDX-License-Identifier: MIT
# The programs that any store has to pass; those that wait for real things, up to 20 s each, are slow. The installed suite
# reads this, too.
set(conformance_quick enqueue many unique handle retry history inspect steer cron schedule step testing_api bad_input
  upkeep)
set(conformance_slow concurrent capacity shutdown lease misuse stress)
