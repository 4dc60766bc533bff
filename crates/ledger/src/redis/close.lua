-- Closes the latest claim of an effect, for the owner of its partition.
-- KEYS: owner of the partition, effect.
-- ARGV: epoch, token, memory, how (settle, failed, unknown, given_up, given_up_unknown, doubt, release), kept (ms), result.
local found = redis.call('HMGET', KEYS[2], 'state', 'token', 'memory', 'closed', 'doubtful', 'attempts', 'epoch')
local how = ARGV[4]
local doubt = how == 'unknown' or how == 'given_up_unknown' or how == 'doubt'
local latest = found[2] == ARGV[2] and found[3] == ARGV[3]
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
  -- The owner of this claim lost the partition and lives: it settles nothing, but nobody has to wait for it, unless what it
  -- sent may yet happen.
  if latest and found[1] == 'claimed' and found[7] == ARGV[1] then
    redis.call('HSET', KEYS[2], 'state', 'unknown')
    if not doubt then
      redis.call('HDEL', KEYS[2], 'under_way')
    end
  end
  return { 'stale' }
end
if not latest then
  return { 'stale' }
end
if found[1] ~= 'claimed' then
  if found[4] ~= how then
    return { 'stale' }
  end
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
  return { 'done' }
end
local state = 'absent'
if how == 'settle' then
  state = 'settled'
  redis.call('HSET', KEYS[2], 'result', ARGV[6])
elseif doubt or (how == 'release' and found[5] == '1') then
  state = 'unknown'
end
local attempts = tonumber(found[6])
local gives_up = how == 'given_up' or how == 'given_up_unknown'
if how == 'failed' or how == 'unknown' or gives_up then
  attempts = attempts + 1
end
if gives_up then
  redis.call('HSET', KEYS[2], 'spent', attempts, 'crashes', 0)
end
redis.call('HSET', KEYS[2], 'state', state, 'closed', how, 'attempts', attempts)
if not doubt then
  redis.call('HDEL', KEYS[2], 'under_way')
end
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return { 'done' }
