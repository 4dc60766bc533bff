-- Closes the latest claim of an effect, for the owner of its partition.
-- KEYS: owner of the partition, effect. ARGV: epoch, token, how (settle, failed, unknown, release), kept (ms), result.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return { 'stale' }
end
local how = ARGV[3]
local found = redis.call('HMGET', KEYS[2], 'state', 'token', 'closed', 'doubtful', 'attempts')
if found[2] ~= ARGV[2] then
  return { 'stale' }
end
if found[1] ~= 'claimed' then
  if found[3] ~= how then
    return { 'stale' }
  end
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
  return { 'done' }
end
local state = 'absent'
if how == 'settle' then
  state = 'settled'
  redis.call('HSET', KEYS[2], 'result', ARGV[5])
elseif how == 'unknown' or (how == 'release' and found[4] == '1') then
  state = 'unknown'
end
local attempts = tonumber(found[5])
if how == 'failed' or how == 'unknown' then
  attempts = attempts + 1
end
redis.call('HSET', KEYS[2], 'state', state, 'closed', how, 'attempts', attempts)
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return { 'done' }
