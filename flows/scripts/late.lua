-- The flow's decision where the fail policy's was first: stored beside it, told as late, once.
-- ARGV: generation, ttl_s, event id, late decision, features, records, alert ("" for none)
if (redis.call('GET', 'rb:gen') or '') ~= ARGV[1] then
  return redis.error_reply('FENCED a newer flow was started')
end
if not redis.call('SET', 'rb:late:' .. ARGV[3], ARGV[4], 'NX', 'EX', ARGV[2]) then
  return 0
end
redis.call('SET', 'rb:features:' .. ARGV[3], ARGV[5], 'EX', ARGV[2])
redis.call('XADD', 'rb:decisions', 'MAXLEN', '~', 1000000, '*', 'decision', ARGV[4])
redis.call('XADD', 'rb:audit', '*', 'records', ARGV[6])
if ARGV[7] ~= '' then
  redis.call('XADD', 'rb:alerts', 'MAXLEN', '~', 100000, '*', 'alert', ARGV[7])
end
redis.call('HINCRBY', 'rb:counters', 'decisions_late', 1)
return 1
