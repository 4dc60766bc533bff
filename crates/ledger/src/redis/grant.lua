-- Reads a connection's grant. KEYS: grant.
local kept = redis.call('HMGET', KEYS[1], 'version', 'sealed', 'seeded_at')
if not kept[1] then
  return { 'absent' }
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
return { 'kept', kept[1], kept[2], string.format('%.0f', math.max(0, now - tonumber(kept[3]))) }
