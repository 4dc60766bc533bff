-- Notes an order as seen and says whether it was handed on before, or else since when this memory knows it.
-- KEYS: memory, sighting. ARGV: fingerprint, kept (ms), redelivered (0 or 1).
local memory = redis.call('HGET', KEYS[1], 'name')
if not memory then
  return { 'first', '' }
end
local found = redis.call('HMGET', KEYS[2], 'fingerprint', 'memory', 'handed_on', 'known_since')
if found[1] and found[2] == memory then
  if found[1] ~= ARGV[1] then
    return { 'conflict' }
  end
  if found[3] then
    return { 'again' }
  end
  return { 'first', found[4] or '' }
end
local known_since = ''
if not found[1] and ARGV[3] == '0' then
  known_since = memory .. '@' .. redis.call('TIME')[1]
end
redis.call('HSET', KEYS[2], 'fingerprint', ARGV[1], 'memory', memory, 'known_since', known_since)
redis.call('HDEL', KEYS[2], 'handed_on')
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return { 'first', known_since }
