-- Keeps a connection's grant, unless one of this or a younger version is there. KEYS: grant. ARGV: version, sealed.
local kept = redis.call('HGET', KEYS[1], 'version')
if kept and tonumber(kept) >= tonumber(ARGV[1]) then
  return { 'older' }
end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'sealed', ARGV[2])
if not kept then
  local clock = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'seeded_at', string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000)))
end
return { 'kept' }
