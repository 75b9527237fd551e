-- Changes of lists, each recorded with its effect. ARGV: then 2 texts a change: change, records.
-- Returns the version that the last one made.
local version = ''
for at = 1, #ARGV, 2 do
  version = redis.call('XADD', 'rb:lists', '*', 'change', ARGV[at])
  redis.call('XADD', 'rb:audit', '*', 'records', ARGV[at + 1])
end
return version
