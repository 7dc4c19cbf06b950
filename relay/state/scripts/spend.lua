-- Charges rate limits by GCRA, all or none: policy/gcra.py in Lua; keep the two the same.
-- KEYS: a key for each charge. ARGV: now, margin, then cost, limit and period for each charge.
-- Returns the seconds until each would be admitted, as text: an integer reply would lose fractions.
local now, margin = tonumber(ARGV[1]), tonumber(ARGV[2])
local moments, waits, is_refused = {}, {}, false

local function settle(arrival, cost, limit, period)
  local asked = cost == 0 and 1 or cost
  if asked > limit then
    return arrival, math.huge
  end
  local interval, latest = period / limit, now + period
  local start = arrival < now and now or (arrival > latest and latest or arrival)
  local after = start + asked * interval
  local wait = after - latest
  if wait > interval / 2 then
    return arrival, wait
  end
  return cost == 0 and arrival or after, 0
end

for i, key in ipairs(KEYS) do
  local cost, limit, period = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2])
  local arrival = moments[key] or tonumber(redis.call('GET', key) or 0)
  local moment, wait = settle(arrival, cost, limit, period)
  if cost > 0 then
    moments[key] = moment
  end
  waits[i] = string.format('%.17g', wait)
  is_refused = is_refused or wait > 0
end

if not is_refused then
  for key, moment in pairs(moments) do
    -- Past its moment a key is as good as unknown; the margin is for clocks that differ.
    redis.call('SET', key, string.format('%.17g', moment),
      'PX', string.format('%.0f', math.ceil((math.max(moment - now, 0) + margin) * 1000)))
  end
end
return waits
