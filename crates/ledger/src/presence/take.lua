-- Notes that a member has a queue; returns how the one before let go of it, and for how long this memory has been one, in
-- milliseconds.
-- KEYS: memory, tenures. ARGV: queue, member.
local memory = redis.call('HMGET', KEYS[1], 'name', 'since')
local name = memory[1] or ''
if redis.call('HGET', KEYS[2], 'memory') ~= name then
  -- Another memory was told these, and not all that came after them.
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[2], 'memory', name)
end
local before = redis.call('HGET', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], 'held ' .. ARGV[2])
local clock = redis.call('TIME')
-- When it began is known to the second.
local remembers = math.max(0, clock[1] - (memory[2] or clock[1]) - 1) * 1000
return { before and string.match(before, '^%a+') or 'unknown', string.format('%.0f', remembers) }
