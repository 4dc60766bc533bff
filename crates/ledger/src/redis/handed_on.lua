-- Notes that an order was handed on, unless its identity was seen with another content.
-- KEYS: sighting. ARGV: fingerprint, kept (ms).
local fingerprint = redis.call('HGET', KEYS[1], 'fingerprint')
if not fingerprint or fingerprint == ARGV[1] then
  redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'handed_on', '1')
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return { 'done' }
