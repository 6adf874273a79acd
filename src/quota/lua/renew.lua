-- Prolongs the leases of calls that still run.
-- KEYS: a subject's running calls. ARGV: the lease in ms; calls.
local time = redis.call('TIME')
local ends = math.floor((tonumber(time[1]) * 1000000 + tonumber(time[2])) / 1000) + tonumber(ARGV[1])
for number = 2, #ARGV do
  redis.call('ZADD', KEYS[1], ends, ARGV[number])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 0
