-- Notes an order as seen and says whether it was handed on before.
-- KEYS: sighting. ARGV: fingerprint, kept (ms).
local found = redis.call('HMGET', KEYS[1], 'fingerprint', 'handed_on')
if not found[1] then
  redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return { 'first' }
end
if found[1] ~= ARGV[1] then
  return { 'conflict' }
end
return { found[2] and 'again' or 'first' }
