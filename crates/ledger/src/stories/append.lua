-- Appends steps to an order's story, which keeps its first and its last ones and says how many were left out.
-- KEYS[1] the story
-- ARGV[1] how long it is kept, in milliseconds; ARGV[2] 'as before' where one that is there goes on as it was; ARGV[3] steps
-- kept of the beginning; ARGV[4] of the end; then the steps
local kept, first, last = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
if ARGV[2] == 'as before' then
  local left = redis.call('PTTL', KEYS[1])
  if left > 0 then
    kept = string.format('%d', left)
  end
end
for index = 5, #ARGV do
  redis.call('RPUSH', KEYS[1], ARGV[index])
end
redis.call('PEXPIRE', KEYS[1], kept)
if redis.call('LLEN', KEYS[1]) <= first + last then
  return {'done'}
end
local cut, mark = 0, redis.call('LINDEX', KEYS[1], first)
if string.find(mark, '"s":"cut"', 1, true) then
  cut = tonumber(string.match(mark, '"steps":(%d+)')) or 0
  if redis.call('LLEN', KEYS[1]) <= first + last + 1 then
    return {'done'}
  end
end
local steps = redis.call('LRANGE', KEYS[1], 0, -1)
if cut > 0 then
  table.remove(steps, first + 1)
end
local over = #steps - first - last
local at = string.match(steps[first + over], '"t":(%d+)') or '0'
redis.call('DEL', KEYS[1])
for index = 1, first do
  redis.call('RPUSH', KEYS[1], steps[index])
end
redis.call('RPUSH', KEYS[1], '{"t":' .. at .. ',"b":"","s":"cut","steps":' .. string.format('%d', cut + over) .. '}')
for index = first + over + 1, #steps do
  redis.call('RPUSH', KEYS[1], steps[index])
end
redis.call('PEXPIRE', KEYS[1], kept)
return {'done'}
