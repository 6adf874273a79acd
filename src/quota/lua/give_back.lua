-- Gives tokens back to buckets; below nothing, takes them. A bucket that was forgotten is full.
-- KEYS: buckets. ARGV: tokens; then of each bucket the tokens that it holds.
local MINUTE, LONGEST = 60000, 86400000
for number, bucket in ipairs(KEYS) do
  local level = redis.call('HGET', bucket, 'tokens')
  if level then
    local limit = tonumber(ARGV[1 + number])
    level = tonumber(level) + tonumber(ARGV[1])
    redis.call('HSET', bucket, 'tokens', string.format('%.17g', level))
    local until_full = limit == 0 and 0 or math.min((limit - level) / limit * MINUTE, LONGEST) + 1000
    if until_full > redis.call('PTTL', bucket) then
      redis.call('PEXPIRE', bucket, string.format('%.0f', until_full))
    end
  end
end
return 0
