-- A request of the fleet is over. KEYS: quota, requests under way.
-- ARGV: request, calls it made, used, limit (both empty when nothing was told), disagreement (ms), bucket (ms), window (ms).
-- Which of two tellings holds is said in domain::quota::Usage::or_newer.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZREM', KEYS[2], ARGV[1])
local bucket = string.format('%.0f', now - now % tonumber(ARGV[6]))
if tonumber(ARGV[2]) > 0 then
  redis.call('HINCRBY', KEYS[1], 'own:' .. bucket, ARGV[2])
end
if ARGV[3] ~= '' then
  local told = redis.call('HMGET', KEYS[1], 'used', 'limit', 'at')
  if not told[1] or told[2] ~= ARGV[4] or tonumber(ARGV[3]) >= tonumber(told[1])
    or now - tonumber(told[3]) >= tonumber(ARGV[5])
    or (tonumber(told[1]) - tonumber(ARGV[3])) * 20 >= tonumber(ARGV[4]) then
    redis.call('HSET', KEYS[1], 'used', ARGV[3], 'limit', ARGV[4], 'at', string.format('%.0f', now))
  end
  -- The first request of a bucket clears what has left the window.
  if redis.call('HSETNX', KEYS[1], 'past:' .. bucket, ARGV[3]) == 1 then
    local oldest = now - tonumber(ARGV[7]) - 2 * tonumber(ARGV[6])
    for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
      local start = string.match(field, ':(%d+)$')
      if start and tonumber(start) < oldest then
        redis.call('HDEL', KEYS[1], field)
      end
    end
  end
end
redis.call('PEXPIRE', KEYS[1], 2 * tonumber(ARGV[7]))
redis.call('PEXPIRE', KEYS[2], 2 * tonumber(ARGV[7]))
return { 'noted' }
