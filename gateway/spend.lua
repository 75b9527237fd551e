-- Adds an amount to sums that live for a while, and gives what each was before.
--
-- ARGV: 1 amount, 2 seconds kept, 3.. keys
local before = {}
for i = 3, #ARGV do
  local sum = redis.call('INCRBY', ARGV[i], ARGV[1])
  redis.call('EXPIRE', ARGV[i], ARGV[2])
  before[i - 2] = sum - tonumber(ARGV[1])
end
return before
