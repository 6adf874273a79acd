-- Takes from the buckets of every subject, or of none. A bucket holds a minute's worth, and fills evenly.
-- KEYS: of each subject its bucket and its running calls.
-- ARGV: the call that begins, or nothing; its lease in ms; requests and tokens that must be there; requests and tokens
--   that are taken; then of each subject requests a minute, tokens a minute, calls at once, each -1 where not limited.
-- Answers: seconds to wait, above 0 where refused; the limit of calls at once that is reached, or -1; then each
--   bucket's requests and tokens, as they are now.
local MINUTE, LONGEST = 60000000, 86400000
local FIELDS = {'requests', 'tokens'}
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now_ms = math.floor(now / 1000)
local call, lease = ARGV[1], tonumber(ARGV[2])
local wanted, taken = {tonumber(ARGV[3]), tonumber(ARGV[4])}, {tonumber(ARGV[5]), tonumber(ARGV[6])}
local subjects = #KEYS / 2
local wait, full, levels = 0, -1, {}

local function limit_of(subject, kind)
  return tonumber(ARGV[3 + 3 * subject + kind])
end

for subject = 1, subjects do
  local known = redis.call('HMGET', KEYS[2 * subject - 1], 'requests', 'tokens', 'at')
  local passed = known[3] and math.max(now - tonumber(known[3]), 0) or 0
  levels[subject] = {}
  for kind = 1, 2 do
    local limit = limit_of(subject, kind)
    local level = limit
    if limit >= 0 then
      if known[kind] then
        level = math.min(tonumber(known[kind]) + passed / MINUTE * limit, limit)
      end
      if wanted[kind] > 0 then
        local missing = math.min(wanted[kind], limit) - level
        wait = math.max(wait, limit == 0 and MINUTE or missing / limit * MINUTE)
      end
    end
    levels[subject][kind] = level
  end
  local parallel = limit_of(subject, 3)
  if call ~= '' and parallel >= 0 and full < 0 then
    local calls = KEYS[2 * subject]
    redis.call('ZREMRANGEBYSCORE', calls, '-inf', now_ms)
    if redis.call('ZCARD', calls) >= parallel then
      full = parallel
    end
  end
end

-- What is missing for less than a microsecond is there but for rounding.
local refused = full >= 0 or wait >= 1
if not refused then
  wait = 0
  for subject = 1, subjects do
    local bucket, until_full = KEYS[2 * subject - 1], 0
    for kind = 1, 2 do
      local limit = limit_of(subject, kind)
      if limit >= 0 then
        local level = levels[subject][kind] - taken[kind]
        levels[subject][kind] = level
        redis.call('HSET', bucket, FIELDS[kind], string.format('%.17g', level))
        until_full = math.max(until_full, limit == 0 and 0 or (limit - level) / limit * MINUTE / 1000)
      else
        redis.call('HDEL', bucket, FIELDS[kind])
      end
    end
    redis.call('HSET', bucket, 'at', string.format('%.0f', now))
    -- A full bucket is forgotten without harm.
    redis.call('PEXPIRE', bucket, string.format('%.0f', math.min(until_full, LONGEST) + 1000))
    if call ~= '' and limit_of(subject, 3) >= 0 then
      local calls = KEYS[2 * subject]
      redis.call('ZADD', calls, now_ms + lease, call)
      redis.call('PEXPIRE', calls, lease)
    end
  end
end

local answer = {string.format('%.6f', math.max(wait, 0) / 1000000), string.format('%.0f', full)}
for subject = 1, subjects do
  for kind = 1, 2 do
    answer[#answer + 1] = string.format('%.17g', levels[subject][kind])
  end
end
return answer
