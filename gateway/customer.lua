-- Replaces what is known of a customer, if it is still what the caller read.
--
-- ARGV: 1 customer key, 2 what was read ("" for nothing), 3 what is to stand, 4 customer token,
--       5 audit stream, 6 records ("" for none), 7 stream of what is told to a customer's channels,
--       8 telling ("" for none), 9 how many addresses go, 10.. keys of those that go, then keys of
--       those that come
-- gives "ok" | "changed" | "taken"
local now = redis.call('GET', ARGV[1]) or ''
if now == ARGV[3] then
  return 'ok'
end
if now ~= ARGV[2] then
  return 'changed'
end
local going = tonumber(ARGV[9])
for i = 10 + going, #ARGV do
  local owner = redis.call('GET', ARGV[i])
  if owner and owner ~= ARGV[4] then
    return 'taken'
  end
end
for i = 10, 9 + going do
  if redis.call('GET', ARGV[i]) == ARGV[4] then
    redis.call('DEL', ARGV[i])
  end
end
for i = 10 + going, #ARGV do
  redis.call('SET', ARGV[i], ARGV[4])
end
redis.call('SET', ARGV[1], ARGV[3])
if ARGV[6] ~= '' then
  redis.call('XADD', ARGV[5], '*', 'records', ARGV[6])
end
if ARGV[8] ~= '' then
  redis.call('XADD', ARGV[7], 'MAXLEN', '~', 100000, '*', 'telling', ARGV[8])
end
return 'ok'
