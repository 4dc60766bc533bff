-- Takes, lengthens or gives back a lease. KEYS: lease. ARGV: holder, time (ms; 0 gives it back).
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return { 'busy', string.format('%.0f', math.max(1, redis.call('PTTL', KEYS[1]))) }
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return { 'held' }
