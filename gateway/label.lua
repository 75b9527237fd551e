-- Takes one label down, once; a lower rank after a higher one is marked as outranked.
--
-- ARGV: 1 label key, 2 what is said, 3 seconds kept, 4 highest-rank key, 5 rank, 6 labels stream,
--       7 label, 8 label marked outranked, 9 audit stream, 10 records, 11 records marked outranked
-- gives "new" | "same" | "other"
local known = redis.call('GET', ARGV[1])
if known then
  if known == ARGV[2] then
    return 'same'
  end
  return 'other'
end
local rank = tonumber(ARGV[5])
local highest = tonumber(redis.call('HGET', ARGV[4], 'rank') or '0')
local outranked = rank < highest
redis.call('SET', ARGV[1], ARGV[2], 'EX', ARGV[3])
if not outranked then
  redis.call('HSET', ARGV[4], 'rank', rank, 'said', ARGV[2])
end
redis.call('EXPIRE', ARGV[4], ARGV[3])
redis.call('XADD', ARGV[6], '*', 'label', outranked and ARGV[8] or ARGV[7])
redis.call('XADD', ARGV[9], '*', 'records', outranked and ARGV[11] or ARGV[10])
return 'new'
