-- How a challenge ended: the first written is the outcome.
-- ARGV: generation, now_ms, ttl_s, then 8 texts an outcome: event id, challenge id, outcome JSON,
--       state, records, close JSON, label JSON, alert JSON ("" where there is none)
-- Returns for each "new", or the outcome that was there first.
if (redis.call('GET', 'rb:gen') or '') ~= ARGV[1] then
  return redis.error_reply('FENCED a newer flow was started')
end
local ttl = ARGV[3]
local told = {}
for at = 4, #ARGV, 8 do
  local event, challenge, outcome = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local existing = redis.call('GET', 'rb:outcome:' .. event)
  if existing then
    told[#told + 1] = existing
  else
    redis.call('SET', 'rb:outcome:' .. event, outcome, 'EX', ttl)
    redis.call('ZREM', 'rb:open', challenge)
    local decision = redis.call('GET', 'rb:decision:' .. event)
    if decision then
      local whole = string.sub(decision, 1, -2) .. ',"outcome":' .. outcome .. '}'
      redis.call('XADD', 'rb:decisions', 'MAXLEN', '~', 1000000, '*', 'decision', whole)
    end
    local after = redis.call('XADD', 'rb:audit', '*', 'records', ARGV[at + 4])
    redis.call('XADD', 'rb:challenges', '*', 'challenge', ARGV[at + 5], 'after', after)
    if ARGV[at + 6] ~= '' then
      local label = ARGV[at + 6]
      local ranked = 'rb:labelled:' .. event
      if tonumber(redis.call('HGET', ranked, 'rank') or '0') > 1 then
        label = string.sub(label, 1, -2) .. ',"outranked":true}'
      else
        redis.call('HSET', ranked, 'rank', 1)
        redis.call('EXPIRE', ranked, 15552000)
      end
      redis.call('XADD', 'rb:labels', '*', 'label', label)
    end
    if ARGV[at + 7] ~= '' then
      redis.call('XADD', 'rb:alerts', 'MAXLEN', '~', 100000, '*', 'alert', ARGV[at + 7])
    end
    redis.call('HINCRBY', 'rb:counters', 'challenges_' .. ARGV[at + 3], 1)
    told[#told + 1] = 'new'
  end
end
return told
