-- The rival: hold one seat until a deadline, as a Redis script. The same work as HOLD of one seat: is it free, may this
-- user have one more, then seat, user's count and deadline.
-- KEYS: seats (hash), deadlines (sorted set), users (hash). ARGV: seat, user, deadline_ms, limit for each user.
-- A refusal is an array that begins with its word, which load generators count as an answer, not as a broken script.
local holder = redis.call('HGET', KEYS[1], ARGV[1])
if holder then
    return {'HELD', holder}
end
if redis.call('HINCRBY', KEYS[3], ARGV[2], 1) > tonumber(ARGV[4]) then
    redis.call('HINCRBY', KEYS[3], ARGV[2], -1)
    return {'LIMIT', ARGV[4]}
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
return ARGV[3]
