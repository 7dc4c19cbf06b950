-- Adds to decaying sums: policy/decay.py in Lua; keep the two the same.
-- KEYS: subjects. ARGV: now, margin, what is negligible, then weight and half-life for each subject.
-- A sum is kept as text, "value at half_life".
local now, margin, negligible = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

for i, key in ipairs(KEYS) do
  local weight, half_life = tonumber(ARGV[2 * i + 2]), tonumber(ARGV[2 * i + 3])
  local value, at = 0, now
  local kept = redis.call('GET', key)
  if kept then
    local old, moment, half = kept:match('(%S+) (%S+) (%S+)')
    moment = tonumber(moment)
    value = tonumber(old) * 2 ^ (-math.max(now - moment, 0) / tonumber(half))
    if math.abs(value) < negligible then
      value = 0
    end
    at = math.max(now, moment)
  end
  value = value + weight
  local left = 0
  if math.abs(value) > negligible then
    left = half_life * math.log(math.abs(value) / negligible) / math.log(2)
  end
  redis.call('SET', key, string.format('%.17g %.17g %.17g', value, at, half_life),
    'PX', string.format('%.0f', math.ceil((at - now + left + margin) * 1000)))
end
return 0
