-- Changes of lists, each recorded with its effect. ARGV: then 2 texts a change: change, records, in
-- which @version@ stands for the version that the change makes.
-- Returns the version that the last one made.
local version = ''
for at = 1, #ARGV, 2 do
  version = redis.call('XADD', 'rb:lists', '*', 'change', ARGV[at])
  local records = string.gsub(ARGV[at + 1], '@version@', version)
  redis.call('XADD', 'rb:audit', '*', 'records', records)
end
return version
