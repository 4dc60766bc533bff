-- Lengthens a claim, for the owner of its partition, before something is sent that is not refused when it comes twice.
-- KEYS: memory, owner of the partition, effect.
-- ARGV: epoch, token, memory of the claim, how long it may take to happen (ms; 0: it was answered).
local memory = redis.call('HGET', KEYS[1], 'name')
local owner = redis.call('HMGET', KEYS[2], 'epoch', 'memory')
local found = redis.call('HMGET', KEYS[3], 'state', 'token', 'memory')
if memory ~= ARGV[3] or owner[1] ~= ARGV[1] or owner[2] ~= memory or found[1] ~= 'claimed' or found[2] ~= ARGV[2]
  or found[3] ~= memory then
  return { 'stale' }
end
if ARGV[4] == '0' then
  redis.call('HDEL', KEYS[3], 'under_way')
else
  local clock = redis.call('TIME')
  local till = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000) + ARGV[4])
  redis.call('HSET', KEYS[3], 'until', till, 'under_way', till)
end
return { 'held' }
