-- Writes down restrictions and tells everybody.
-- KEYS: the hash of restrictions, their version (both in one slot). ARGV: channel, and for each
-- restriction its field and its value.
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
-- Microseconds rather than a count: a server that was emptied, or a replica that has taken over and
-- has not seen the last changes, must not come to a version that somebody knows already.
local time = redis.call('TIME')
local version = math.max(tonumber(redis.call('GET', KEYS[2]) or 0) + 1, time[1] * 1000000 + time[2])
redis.call('SET', KEYS[2], string.format('%.0f', version))
redis.call('PUBLISH', ARGV[1], string.format('%.0f', version))
