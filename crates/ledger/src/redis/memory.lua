-- Names this memory, anew when it may have forgotten something: the name is gone, or another server answers, another run
-- of one, or one that was promoted. It runs before the others in the same round trip, and is sent whole, so that no server
-- can have forgotten it.
-- KEYS: memory.
local function told(section, field)
  return string.match(redis.call('INFO', section), field .. ':(%x+)')
end
local run, history = told('server', 'run_id'), told('replication', 'master_replid')
if not run and not history then
  return redis.error_reply('NOIDENTITY this server tells neither its run_id nor its master_replid')
end
local server = (run or '') .. ':' .. (history or '')
local known = redis.call('HMGET', KEYS[1], 'name', 'server')
if known[1] and known[2] == server then
  return { known[1] }
end
local clock = redis.call('TIME')
local name = string.sub(redis.sha1hex(server .. ':' .. clock[1] .. ':' .. clock[2]), 1, 16)
redis.call('HSET', KEYS[1], 'name', name, 'server', server, 'since', clock[1])
return { name }
