-- Makes an epoch the owner of a partition, and notes since when there is a memory.
-- KEYS: owner of the partition, since. ARGV: epoch.
local clock = redis.call('TIME')
redis.call('SET', KEYS[2], string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000)), 'NX')
redis.call('SET', KEYS[1], ARGV[1])
return { 'done' }
