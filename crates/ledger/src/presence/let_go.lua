-- Notes that a member lets go of queues; of those that another has taken since nothing is noted.
-- KEYS: tenures. ARGV: member, how, queues.
for index = 3, #ARGV do
  if redis.call('HGET', KEYS[1], ARGV[index]) == 'held ' .. ARGV[1] then
    redis.call('HSET', KEYS[1], ARGV[index], ARGV[2] .. ' ' .. ARGV[1])
  end
end
return { 'done' }
