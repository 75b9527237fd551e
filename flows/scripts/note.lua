-- A record (the ledger drops a known rid) and an alert, given once, of an input already read.
-- ARGV: generation, ttl_s, then 3 texts a note: rid, records, alert ("" where there is none)
if (redis.call('GET', 'rb:gen') or '') ~= ARGV[1] then
  return redis.error_reply('FENCED a newer flow was started')
end
local fresh = 0
for at = 3, #ARGV, 3 do
  if ARGV[at + 1] ~= '' then
    redis.call('XADD', 'rb:audit', '*', 'records', ARGV[at + 1])
  end
  if ARGV[at + 2] ~= '' and redis.call('SET', 'rb:noted:' .. ARGV[at], 1, 'NX', 'EX', ARGV[2]) then
    fresh = fresh + 1
    redis.call('XADD', 'rb:alerts', 'MAXLEN', '~', 100000, '*', 'alert', ARGV[at + 2])
  end
end
return fresh
