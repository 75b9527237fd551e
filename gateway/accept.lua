-- Accepts one event, once: its id with the hash of its body, the event, and its first records.
--
-- ARGV: 1 id key, 2 hash, 3 events stream, 4 envelope, 5 audit stream, 6 records, 7 seconds kept,
--       8 decision key, 9 outcome key, 10 key that marks an outcome as handed out
-- gives {"new", entry} | {"same", decision or nil, outcome or nil} | {"other"}
local known = redis.call('GET', ARGV[1])
if known then
  if string.match(known, '^%S+') ~= ARGV[2] then
    return {'other'}
  end
  local outcome = redis.call('GET', ARGV[9])
  if outcome then
    redis.call('SET', ARGV[10], 1, 'EX', ARGV[7])
  end
  return {'same', redis.call('GET', ARGV[8]), outcome}
end
local entry = redis.call('XADD', ARGV[3], '*', 'e', ARGV[4])
redis.call('SET', ARGV[1], ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. entry, 'EX', ARGV[7])
redis.call('XADD', ARGV[5], '*', 'records', ARGV[6])
return {'new', entry}
