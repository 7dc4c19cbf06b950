-- Takes back what spend.lua has charged, where another slot of a Cluster has refused its part.
-- KEYS: a key for each charge. ARGV: cost, limit and period for each charge.
for i, key in ipairs(KEYS) do
  local cost, limit, period = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local arrival = tonumber(redis.call('GET', key) or 0)
  if arrival > 0 and limit > 0 then
    redis.call('SET', key, string.format('%.17g', arrival - cost * (period / limit)), 'KEEPTTL')
  end
end
return 0
