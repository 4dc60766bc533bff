-- A request of the fleet begins. KEYS: quota, requests under way. ARGV: request, longest time it takes (ms).
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
local told = redis.call('HMGET', KEYS[1], 'used', 'limit', 'at')
return { string.format('%.0f', now), tostring(redis.call('ZCARD', KEYS[2])), told[1] or '', told[2] or '', told[3] or '' }
