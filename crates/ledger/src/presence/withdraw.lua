-- Takes an announcement back.
-- KEYS: members. ARGV: member.
redis.call('ZREM', KEYS[1], ARGV[1])
return { 'done' }
