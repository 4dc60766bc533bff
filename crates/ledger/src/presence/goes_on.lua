-- Notes that work on queues goes on.
-- KEYS: when it went on last. ARGV: queues.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
for _, queue in ipairs(ARGV) do
  redis.call('HSET', KEYS[1], queue, now)
end
redis.call('PEXPIRE', KEYS[1], 86400000)
return { 'done' }
