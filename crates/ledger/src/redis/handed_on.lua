-- Notes that an order was handed on, unless its identity was seen with another content.
-- KEYS: memory, sighting. ARGV: fingerprint, kept (ms).
local memory, fingerprint = redis.call('HGET', KEYS[1], 'name'), redis.call('HGET', KEYS[2], 'fingerprint')
if memory and (not fingerprint or fingerprint == ARGV[1]) then
  redis.call('HSET', KEYS[2], 'fingerprint', ARGV[1], 'memory', memory, 'handed_on', '1')
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
return { 'done' }
