-- Binds a key to a customer, once: the request that allows it is spent in the same step.
--
-- ARGV: 1 request key, 2 what was read of it, 3 what is to stand, 4 seconds kept, 5 credential key,
--       6 credential, 7 counter, 8 set of the customer's credentials, 9 credential id,
--       10 audit stream, 11 records, 12 stream of what older channels are told, 13 telling ("" none)
-- gives "ok" | "changed" | "taken"
if redis.call('GET', ARGV[1]) ~= ARGV[2] then
  return 'changed'
end
if redis.call('EXISTS', ARGV[5]) == 1 then
  return 'taken'
end
redis.call('SET', ARGV[1], ARGV[3], 'EX', ARGV[4])
redis.call('HSET', ARGV[5], 'data', ARGV[6], 'count', ARGV[7])
redis.call('SADD', ARGV[8], ARGV[9])
redis.call('XADD', ARGV[10], '*', 'records', ARGV[11])
if ARGV[13] ~= '' then
  redis.call('XADD', ARGV[12], 'MAXLEN', '~', 100000, '*', 'telling', ARGV[13])
end
return 'ok'
