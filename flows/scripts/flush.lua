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
  redis.call('HSET', undo .. version, '', '')
  for pair = at + 3, at + 2 + 2 * count, 2 do
    local old = redis.call('HGET', key, ARGV[pair])
    redis.call('HSET', undo .. version, ARGV[pair], old or '')
    if ARGV[pair + 1] == '' then
      redis.call('HDEL', key, ARGV[pair])
    else
      redis.call('HSET', key, ARGV[pair], ARGV[pair + 1])
    end
  end
  redis.call('UNLINK', undo .. (version - kept))
  redis.call('SET', 'rb:ver:' .. stage .. ':' .. shard, version)
  at = at + 3 + 2 * count
end
return 1
