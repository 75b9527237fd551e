-- Passes one answer of the page on, once; whoever reads the answers decides what it is worth.
--
-- ARGV: 1 key of the answers given, 2 what is said, 3 seconds kept, 4 open challenges, 5 challenge,
--       6 answers stream, 7 answer, 8 audit stream, 9 records,
--       10 key of the signature's use ("" for an unsigned one), 11 credential key, 12 its counter
-- gives {"new" | "same", 1 where the challenge is open, else 0}, or for a signed answer
--       {"gone" | "replayed" | "counter", ...}, and then nothing was written
local open = redis.call('ZSCORE', ARGV[4], ARGV[5]) and 1 or 0
if ARGV[10] ~= '' then
  if redis.call('EXISTS', ARGV[11]) == 0 then
    return {'gone', open}
  end
  if redis.call('EXISTS', ARGV[10]) == 1 then
    return {'replayed', open}
  end
  local known = tonumber(redis.call('HGET', ARGV[11], 'count') or '0')
  local told = tonumber(ARGV[12])
  if (known > 0 or told > 0) and told <= known then
    return {'counter', open}
  end
end
if redis.call('HEXISTS', ARGV[1], ARGV[2]) == 1 then
  return {'same', open}
end
redis.call('HSET', ARGV[1], ARGV[2], open)
redis.call('EXPIRE', ARGV[1], ARGV[3])
if ARGV[10] ~= '' then
  redis.call('SET', ARGV[10], ARGV[5], 'EX', ARGV[3])
  redis.call('HSET', ARGV[11], 'count', ARGV[12])
end
redis.call('XADD', ARGV[6], '*', 'answer', ARGV[7])
redis.call('XADD', ARGV[8], '*', 'records', ARGV[9])
return {'new', open}
