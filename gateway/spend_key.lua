-- Uses a signature up, once, and raises its key's counter.
--
-- ARGV: 1 key of the signature's use, 2 credential key, 3 its counter, 4 what for, 5 seconds kept
-- gives "ok" | "gone" | "replayed" | "counter"
if redis.call('EXISTS', ARGV[2]) == 0 then
  return 'gone'
end
if redis.call('EXISTS', ARGV[1]) == 1 then
  return 'replayed'
end
local known = tonumber(redis.call('HGET', ARGV[2], 'count') or '0')
local told = tonumber(ARGV[3])
if (known > 0 or told > 0) and told <= known then
  return 'counter'
end
redis.call('SET', ARGV[1], ARGV[4], 'EX', ARGV[5])
redis.call('HSET', ARGV[2], 'count', ARGV[3])
return 'ok'
