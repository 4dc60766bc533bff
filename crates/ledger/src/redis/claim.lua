-- Claims an effect for the owner of its partition.
-- KEYS: owner of the partition, effect. ARGV: epoch, fingerprint, lease (ms), kept (ms).
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return { 'not_owner' }
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local found = redis.call('HMGET', KEYS[2], 'state', 'fingerprint', 'epoch', 'until', 'attempts', 'result', 'token',
  'spent')
local state, attempts, spent = found[1], tonumber(found[5] or '0'), tonumber(found[8] or '0')
if state and found[2] ~= ARGV[2] then
  if state ~= 'absent' then
    return { 'conflict' }
  end
  -- It certainly did not happen: this is a corrected order, which has failed nothing yet.
  attempts, spent = 0, 0
end
if state == 'settled' then
  return { 'settled', found[6] }
end
local doubtful = state == 'unknown'
if state == 'claimed' then
  local left = tonumber(found[4]) - now
  if found[3] ~= ARGV[1] and left > 0 then
    return { 'busy', string.format('%.0f', left) }
  end
  doubtful = true
  attempts = attempts + 1
end
local token = tonumber(found[7] or '0') + 1
redis.call('HSET', KEYS[2], 'state', 'claimed', 'fingerprint', ARGV[2], 'epoch', ARGV[1],
  'until', string.format('%.0f', now + ARGV[3]), 'attempts', attempts, 'spent', spent,
  'token', token, 'doubtful', doubtful and '1' or '0')
redis.call('HDEL', KEYS[2], 'closed')
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return { doubtful and 'unknown' or 'claimed', tostring(token), tostring(attempts), tostring(spent) }
