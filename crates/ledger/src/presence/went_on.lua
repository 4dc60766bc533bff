-- How long ago work on queues went on last, in milliseconds each; an empty text where that was never noted.
-- KEYS: when it went on last. ARGV: queues.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ago = {}
for index, queue in ipairs(ARGV) do
  local at = redis.call('HGET', KEYS[1], queue)
  ago[index] = at and string.format('%.0f', math.max(0, now - tonumber(at))) or ''
end
return ago
