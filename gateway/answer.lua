-- Passes one answer of the page on, once; whoever reads the answers decides what it is worth.
--
-- ARGV: 1 key of the answers given, 2 what is said, 3 seconds kept, 4 open challenges, 5 challenge,
--       6 answers stream, 7 answer, 8 audit stream, 9 records
-- gives {"new" | "same", 1 where the challenge is open, else 0}
local open = redis.call('ZSCORE', ARGV[4], ARGV[5]) and 1 or 0
if redis.call('HEXISTS', ARGV[1], ARGV[2]) == 1 then
  return {'same', open}
end
redis.call('HSET', ARGV[1], ARGV[2], open)
redis.call('EXPIRE', ARGV[1], ARGV[3])
redis.call('XADD', ARGV[6], '*', 'answer', ARGV[7])
redis.call('XADD', ARGV[8], '*', 'records', ARGV[9])
return {'new', open}
