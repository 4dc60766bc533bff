-- Notes that a member has a queue; returns how the one before let go of it.
-- KEYS: tenures. ARGV: queue, member.
local before = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], 'held ' .. ARGV[2])
return { before and string.match(before, '^%a+') or 'unknown' }
