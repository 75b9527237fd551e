-- An inquiry that is put, or what was said to one: all that leaves because of it, once by its rid.
-- ARGV: generation, ttl_s, rid, records, challenge entry ("" where there is none), count of alerts,
--       the alerts, then 2 texts a label: event id, label.
-- Returns 1 where it was the first.
if (redis.call('GET', 'rb:gen') or '') ~= ARGV[1] then
  return redis.error_reply('FENCED a newer flow was started')
end
if not redis.call('SET', 'rb:noted:' .. ARGV[3], 1, 'NX', 'EX', ARGV[2]) then
  return 0
end
local after = redis.call('XADD', 'rb:audit', '*', 'records', ARGV[4])
if ARGV[5] ~= '' then
  redis.call('XADD', 'rb:challenges', '*', 'challenge', ARGV[5], 'after', after)
end
local alerts = tonumber(ARGV[6])
for at = 7, 6 + alerts do
  redis.call('XADD', 'rb:alerts', 'MAXLEN', '~', 100000, '*', 'alert', ARGV[at])
end
for at = 7 + alerts, #ARGV, 2 do
  local label, ranked = ARGV[at + 1], 'rb:labelled:' .. ARGV[at]
  if tonumber(redis.call('HGET', ranked, 'rank') or '0') > 1 then
    label = string.sub(label, 1, -2) .. ',"outranked":true}'
  else
    redis.call('HSET', ranked, 'rank', 1)
    redis.call('EXPIRE', ranked, 15552000)
  end
  redis.call('XADD', 'rb:labels', '*', 'label', label)
end
return 1
