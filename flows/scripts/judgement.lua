-- One step of a change of the judgement: recorded with its effect, or refused where it is stale.
-- ARGV: the head as the change was made against ("" : none yet), the head after it ("" : the same),
--       change id, the change as it now stands (JSON), records (JSON)
local head = redis.call('HGET', 'rb:judgement', 'head') or ''
if ARGV[2] ~= '' then
  if head ~= ARGV[1] then
    return redis.error_reply('STALE ' .. head)
  end
  redis.call('HSET', 'rb:judgement', 'head', ARGV[2])
end
if ARGV[3] ~= '' then
  redis.call('HSET', 'rb:judgement:changes', ARGV[3], ARGV[4])
end
if ARGV[5] ~= '' then
  redis.call('XADD', 'rb:audit', '*', 'records', ARGV[5])
end
return ARGV[2] ~= '' and ARGV[2] or head
