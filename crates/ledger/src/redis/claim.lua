-- Claims an effect for the owner of its partition.
-- KEYS: memory, owner of the partition, effect.
-- ARGV: epoch, fingerprint, lease (ms), kept (ms), memory that knows the order, since when (s).
local memory = redis.call('HGET', KEYS[1], 'name')
local owner = redis.call('HMGET', KEYS[2], 'epoch', 'memory')
if not memory or owner[1] ~= ARGV[1] or owner[2] ~= memory then
  return { 'not_owner' }
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local found = redis.call('HMGET', KEYS[3], 'state', 'fingerprint', 'epoch', 'until', 'attempts', 'result', 'token',
  'spent', 'memory', 'crashes', 'under_way')
local state = found[1] or 'absent'
local attempts, spent, crashes = tonumber(found[5] or '0'), tonumber(found[8] or '0'), tonumber(found[10] or '0')
-- An older memory than this one, restored: it is right about what it says is settled, and of the rest it only says that
-- somebody should look.
local old = found[9] ~= memory
if not found[1] then
  old = ARGV[5] ~= memory or now >= ARGV[6] * 1000 + ARGV[4]
end
local other = found[1] and found[2] ~= ARGV[2]
if other and (state == 'settled' or (state ~= 'absent' and not old)) then
  return { 'conflict' }
end
if state == 'settled' then
  return { 'settled', found[6] }
end
if state == 'claimed' and found[3] ~= ARGV[1] then
  local left = tonumber(found[4]) - now
  if left > 0 then
    return { 'busy', string.format('%.0f', left) }
  end
end
if found[11] and not old and (state == 'claimed' or state == 'unknown') then
  -- It should not be sent twice, and may yet happen: also its owner waits.
  local left = tonumber(found[11]) - now
  if left > 0 then
    return { 'busy', string.format('%.0f', left) }
  end
end
if other then
  -- A corrected order, which has failed nothing yet.
  attempts, spent, crashes = 0, 0, 0
elseif state == 'claimed' and found[3] == ARGV[1] then
  -- Its own claim: whoever asks again has forgotten what became of it.
  attempts = attempts + 1
elseif state == 'claimed' and not old then
  -- Where the memory broke in between, its owner may have closed it all the same.
  crashes = crashes + 1
end
local doubtful = old or state ~= 'absent'
local token = tonumber(found[7] or '0') + 1
redis.call('HSET', KEYS[3], 'state', 'claimed', 'fingerprint', ARGV[2], 'epoch', ARGV[1],
  'until', string.format('%.0f', now + ARGV[3]), 'attempts', attempts, 'spent', spent, 'crashes', crashes,
  'token', token, 'memory', memory, 'doubtful', doubtful and '1' or '0')
redis.call('HDEL', KEYS[3], 'closed', 'under_way')
redis.call('PEXPIRE', KEYS[3], ARGV[4])
return { doubtful and 'unknown' or 'claimed', tostring(token), tostring(attempts), tostring(spent), tostring(crashes),
  memory }
