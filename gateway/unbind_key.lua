-- Takes a key away from a customer, on record and told of in the same step.
--
-- ARGV: 1 credential key, 2 set of the customer's credentials, 3 credential id, 4 mark of this
--       removal, 5 seconds it is kept, 6 audit stream, 7 records, 8 stream of what is told,
--       9 telling ("" for none), 10.. credential keys of which one must be there still ("" none)
-- gives "ok" | "gone" | "last"
if redis.call('EXISTS', ARGV[4]) == 1 then
  return 'ok'
end
if redis.call('EXISTS', ARGV[1]) == 0 then
  return 'gone'
end
local stays = #ARGV < 10
for i = 10, #ARGV do
  stays = stays or redis.call('EXISTS', ARGV[i]) == 1
end
if not stays then
  return 'last'
end
redis.call('SET', ARGV[4], '1', 'EX', ARGV[5])
redis.call('DEL', ARGV[1])
redis.call('SREM', ARGV[2], ARGV[3])
redis.call('XADD', ARGV[6], '*', 'records', ARGV[7])
if ARGV[9] ~= '' then
  redis.call('XADD', ARGV[8], 'MAXLEN', '~', 100000, '*', 'telling', ARGV[9])
end
return 'ok'
