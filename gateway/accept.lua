-- Accepts one event, once: its id with the hash of its body, the event, and its first records.
--
-- ARGV: 1 id key, 2 hash, 3 events stream, 4 envelope, 5 audit stream, 6 records, 7 seconds kept,
--       8 decision key, 9 outcome key
-- gives {"new", entry} | {"same", decision or nil, outcome or nil} | {"other"}
local known = redis.call('GET', ARGV[1])
if known then
  if string.match(known, '^%S+') ~= ARGV[2] then
    return {'other'}
  end
  return {'same', redis.call('GET', ARGV[8]), redis.call('GET', ARGV[9])}
end
local entry = redis.call('XADD', ARGV[3], '*', 'e', ARGV[4])
redis.call('SET', ARGV[1], ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. entry, 'EX', ARGV[7])
redis.call('XADD', ARGV[5], '*', 'records', ARGV[6])
return {'new', entry}
