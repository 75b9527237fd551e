-- A deny after a confirm, once. Where no caller has fetched the outcome yet it becomes the deny;
-- where one has, the outcome says since when it is contradicted. Both are told again.
-- ARGV: generation, ttl_s, event id, rid, deny as an outcome, its time, records where it turned,
--       records where it did not, alert where it turned, alert where not, notice, label ("" none)
-- Returns "turned", "kept", or "known" where this was done before.
if (redis.call('GET', 'rb:gen') or '') ~= ARGV[1] then
  return redis.error_reply('FENCED a newer flow was started')
end
local event = ARGV[3]
if not redis.call('SET', 'rb:noted:' .. ARGV[4], 1, 'NX', 'EX', ARGV[2]) then
  return 'known'
end
local existing = redis.call('GET', 'rb:outcome:' .. event)
local turned = existing and redis.call('EXISTS', 'rb:fetched:' .. event) == 0
if existing then
  local outcome = ARGV[5]
  if not turned then
    outcome = string.sub(existing, 1, -2) .. ',"contradicted":"' .. ARGV[6] .. '"}'
  end
  redis.call('SET', 'rb:outcome:' .. event, outcome, 'EX', ARGV[2])
  local decision = redis.call('GET', 'rb:decision:' .. event)
  if decision then
    local whole = string.sub(decision, 1, -2) .. ',"outcome":' .. outcome .. '}'
    redis.call('XADD', 'rb:decisions', 'MAXLEN', '~', 1000000, '*', 'decision', whole)
  end
end
redis.call('XADD', 'rb:audit', '*', 'records', turned and ARGV[7] or ARGV[8])
redis.call('XADD', 'rb:alerts', 'MAXLEN', '~', 100000, '*', 'alert', turned and ARGV[9] or ARGV[10])
redis.call('XADD', 'rb:challenges', '*', 'challenge', ARGV[11])
if ARGV[12] ~= '' then
  local label = ARGV[12]
  if tonumber(redis.call('HGET', 'rb:labelled:' .. event, 'rank') or '0') > 1 then
    label = string.sub(label, 1, -2) .. ',"outranked":true}'
  end
  redis.call('XADD', 'rb:labels', '*', 'label', label)
end
redis.call('HINCRBY', 'rb:counters', turned and 'contradicted_turned' or 'contradicted_kept', 1)
return turned and 'turned' or 'kept'
