-- Sets or forgets a customer's duress word, on record where that changes anything.
--
-- ARGV: 1 key of the word's keyed hash, 2 what is to stand ("" for none), 3 audit stream, 4 records
-- gives "ok"
if (redis.call('GET', ARGV[1]) or '') == ARGV[2] then
  return 'ok'
end
if ARGV[2] == '' then
  redis.call('DEL', ARGV[1])
else
  redis.call('SET', ARGV[1], ARGV[2])
end
redis.call('XADD', ARGV[3], '*', 'records', ARGV[4])
return 'ok'
