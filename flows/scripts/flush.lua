-- One stage's dirty shards, whole or not at all: new values in, old values into the undo log.
-- ARGV: generation, stage, kept versions, then for each shard: shard, new version, count,
--       then count pairs (entity, value); an empty value takes the entity out
if (redis.call('GET', 'rb:gen') or '') ~= ARGV[1] then
  return redis.error_reply('FENCED a newer flow was started')
end
local stage, kept = ARGV[2], tonumber(ARGV[3])
local at = 4
while at <= #ARGV do
  local shard, version = ARGV[at], tonumber(ARGV[at + 1])
  local found = tonumber(redis.call('GET', 'rb:ver:' .. stage .. ':' .. shard) or '0')
  if found ~= version - 1 then
    return redis.error_reply('VERSION shard ' .. stage .. ':' .. shard .. ' stands at '
      .. found .. ', the flush is for ' .. version)
  end
  at = at + 3 + 2 * tonumber(ARGV[at + 2])
end
at = 4
while at <= #ARGV do
  local shard, version, count = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local key = 'rb:state:' .. stage .. ':' .. shard
  local undo = 'rb:undo:' .. stage .. ':' .. shard .. ':'
  local before = {'', ''}  -- stands in every undo log, so that an empty one is there, too
  -- In pieces: Lua hands over at most some thousands of values at once.
  for first = at + 3, at + 2 + 2 * count, 1000 do
    local last = math.min(first + 999, at + 2 + 2 * count)
    local entities, after, gone = {}, {}, {}
    for pair = first, last, 2 do
      local entity, value = ARGV[pair], ARGV[pair + 1]
      entities[#entities + 1] = entity
      if value == '' then
        gone[#gone + 1] = entity
      else
        after[#after + 1] = entity
        after[#after + 1] = value
      end
    end
    local old = redis.call('HMGET', key, unpack(entities))
    for place, entity in ipairs(entities) do
      before[#before + 1] = entity
      before[#before + 1] = old[place] or ''
    end
    redis.call('HSET', undo .. version, unpack(before))
    before = {}
    if #gone > 0 then
      redis.call('HDEL', key, unpack(gone))
    end
    if #after > 0 then
      redis.call('HSET', key, unpack(after))
    end
  end
  if count == 0 then
    redis.call('HSET', undo .. version, '', '')
  end
  redis.call('UNLINK', undo .. (version - kept))
  redis.call('SET', 'rb:ver:' .. stage .. ':' .. shard, version)
  at = at + 3 + 2 * count
end
return 1
