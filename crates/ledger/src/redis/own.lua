-- Makes an epoch the owner of a partition, in this memory.
-- KEYS: memory, owner of the partition. ARGV: epoch.
redis.call('HSET', KEYS[2], 'epoch', ARGV[1], 'memory', redis.call('HGET', KEYS[1], 'name') or '')
return { 'done' }
