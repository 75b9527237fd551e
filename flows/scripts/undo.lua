-- Puts one shard back to the version of the cut, undoing every later flush.
-- ARGV: generation, stage, shard, version of the cut
-- Returns the count of flushes undone.
if (redis.call('GET', 'rb:gen') or '') ~= ARGV[1] then
  return redis.error_reply('FENCED a newer flow was started')
end
local stage, shard, cut = ARGV[2], ARGV[3], tonumber(ARGV[4])
local key = 'rb:state:' .. stage .. ':' .. shard
local undo = 'rb:undo:' .. stage .. ':' .. shard .. ':'
local found = tonumber(redis.call('GET', 'rb:ver:' .. stage .. ':' .. shard) or '0')
if found < cut then
  return redis.error_reply('BEHIND shard ' .. stage .. ':' .. shard .. ' stands at ' .. found
    .. ', the cut at ' .. cut)
end
for version = found, cut + 1, -1 do
  if redis.call('EXISTS', undo .. version) == 0 then
    return redis.error_reply('NOUNDO shard ' .. stage .. ':' .. shard .. ' stands at ' .. found
      .. ', the cut at ' .. cut .. ', and the undo of ' .. version .. ' is gone')
  end
end
for version = found, cut + 1, -1 do
  local old = redis.call('HGETALL', undo .. version)
  for place = 1, #old, 2 do
    if old[place] ~= '' then
      if old[place + 1] == '' then
        redis.call('HDEL', key, old[place])
      else
        redis.call('HSET', key, old[place], old[place + 1])
      end
    end
  end
  redis.call('DEL', undo .. version)
end
redis.call('SET', 'rb:ver:' .. stage .. ':' .. shard, cut)
if found > cut then
  redis.call('HINCRBY', 'rb:counters', 'undone_flushes', found - cut)
end
return found - cut
