-- Appends steps to an order's story, which keeps its first and its last ones and says how many were left out.
-- KEYS[1] the story
-- ARGV[1] how long it is kept, in milliseconds; ARGV[2] steps kept of the beginning; ARGV[3] of the end; then the steps
local first, last = tonumber(ARGV[2]), tonumber(ARGV[3])
for index = 4, #ARGV do
  redis.call('RPUSH', KEYS[1], ARGV[index])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
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
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {'done'}
