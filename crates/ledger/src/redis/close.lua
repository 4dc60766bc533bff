-- Closes the latest claim of an effect, for the owner of its partition.
-- KEYS: owner of the partition, effect.
-- ARGV: epoch, token, how (settle, failed, unknown, given_up, given_up_unknown, doubt, release), kept (ms), result.
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
elseif how == 'unknown' or how == 'given_up_unknown' or how == 'doubt' or (how == 'release' and found[4] == '1') then
  state = 'unknown'
end
local attempts = tonumber(found[5])
local gives_up = how == 'given_up' or how == 'given_up_unknown'
if how == 'failed' or how == 'unknown' or gives_up then
  attempts = attempts + 1
end
if gives_up then
  redis.call('HSET', KEYS[2], 'spent', attempts)
end
redis.call('HSET', KEYS[2], 'state', state, 'closed', how, 'attempts', attempts)
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return { 'done' }
