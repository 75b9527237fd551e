-- A record (the ledger drops a known rid) and an alert, given once, of an input already read.
-- ARGV: generation, ttl_s, then 4 texts a note: rid, records, alert, and what the customer is told
--       ("" where there is none); alert and notice are given once.
if (redis.call('GET', 'rb:gen') or '') ~= ARGV[1] then
  return redis.error_reply('FENCED a newer flow was started')
end
local fresh = 0
for at = 3, #ARGV, 4 do
  if ARGV[at + 1] ~= '' then
    redis.call('XADD', 'rb:audit', '*', 'records', ARGV[at + 1])
  end
  if (ARGV[at + 2] ~= '' or ARGV[at + 3] ~= '')
    and redis.call('SET', 'rb:noted:' .. ARGV[at], 1, 'NX', 'EX', ARGV[2]) then
    if ARGV[at + 2] ~= '' then
      fresh = fresh + 1
      redis.call('XADD', 'rb:alerts', 'MAXLEN', '~', 100000, '*', 'alert', ARGV[at + 2])
    end
    if ARGV[at + 3] ~= '' then
      redis.call('XADD', 'rb:challenges', '*', 'challenge', ARGV[at + 3])
      local told = cjson.decode(ARGV[at + 3])
      if told['id'] and told['channel'] then  -- for a page that was not looking just then
        local key = 'rb:notice:' .. told['id'] .. ':' .. told['channel']
        redis.call('SET', key, told['say'], 'EX', ARGV[2])
      end
    end
  end
end
return fresh
