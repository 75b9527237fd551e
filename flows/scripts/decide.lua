-- The first written is the decision. Writes decisions of a batch, each at most once, with all that
-- leaves the house because of it: reply, stream entry, challenge, audit records.
-- ARGV: role ("flow" | "gateway"), generation ("" for the gateway), now_ms, ttl_s,
--       then 8 texts an event: id, decision, features, records, challenge, reply, challenge id,
--       expires_ms ("" where there is none).
-- Returns for each event "new", or the decision that was there first. A challenge says `after` which
-- entry of rb:audit, its own decision's, it may leave the house.
if ARGV[1] == 'flow' and (redis.call('GET', 'rb:gen') or '') ~= ARGV[2] then
  return redis.error_reply('FENCED a newer flow was started')
end
local ttl = ARGV[4]
local told, fresh = {}, 0
for at = 5, #ARGV, 8 do
  local id, decision = ARGV[at], ARGV[at + 1]
  local key = 'rb:decision:' .. id
  local existing = redis.call('GET', key)
  if existing then
    told[#told + 1] = existing
  else
    redis.call('SET', key, decision, 'EX', ttl)
    if ARGV[at + 2] ~= '' then
      redis.call('SET', 'rb:features:' .. id, ARGV[at + 2], 'EX', ttl)
    end
    redis.call('XADD', 'rb:decisions', 'MAXLEN', '~', 1000000, '*', 'decision', decision)
    local after = ''
    if ARGV[at + 3] ~= '' then
      after = redis.call('XADD', 'rb:audit', '*', 'records', ARGV[at + 3])
    end
    if ARGV[at + 4] ~= '' then
      redis.call('SET', 'rb:challenge:' .. ARGV[at + 6], ARGV[at + 4], 'EX', ttl)
      redis.call('ZADD', 'rb:open', ARGV[at + 7], ARGV[at + 6])
      redis.call('XADD', 'rb:challenges', '*', 'challenge', ARGV[at + 4], 'after', after)
      redis.call('HINCRBY', 'rb:counters', 'challenges_asked', 1)
    end
    if ARGV[at + 5] ~= '' then
      redis.call('XADD', 'rb:reply:' .. ARGV[at + 5], 'MAXLEN', '~', 10000, '*', 'decision', decision)
    end
    fresh = fresh + 1
    told[#told + 1] = 'new'
  end
end
if fresh > 0 then
  redis.call('HINCRBY', 'rb:counters', 'decisions_' .. ARGV[1], fresh)
end
return told
