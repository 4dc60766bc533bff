-- Makes an epoch the owner of a partition.
-- KEYS: owner of the partition. ARGV: epoch.
redis.call('SET', KEYS[1], ARGV[1])
return { 'done' }
