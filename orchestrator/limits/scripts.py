"""What Redis does at once, and nobody comes between: the scripts, and how they are asked.

All keys have one hash tag, so that a Redis Cluster keeps them together. Times are Redis' own, in microseconds since
1970; levels are as in `orchestrator.limits.meter`, and go as text with all their digits.

The first key is always the life of what Redis remembers: a word that changes when it has forgotten. Whoever asks
says which life it knows, and the level it was last told, less what has drained since: a floor. When that life is over,
what is missing up to the highest floor that anybody knows is put back, below what was charged since.
"""

from __future__ import annotations

from orchestrator.core.redis_scripts import Script

PREFIX = "orchestrator:{limits}:"
LIFE = PREFIX + "life"
SHARE = 16  # of what is left, one part may be leased at a time

_COMMON = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local function digits(number) return string.format('%.17g', number) end
local function life_of(fresh)
  local life = redis.call('GET', KEYS[1])
  if not life then
    life = fresh
    redis.call('SET', KEYS[1], life)
  end
  return life
end
local function drained(level, at, rate) return math.max(0, level - math.max(0, now - at) * rate) end
local function keep(key, level, given, base, rate)
  redis.call('HSET', key, 'level', digits(level), 'at', digits(now), 'given', digits(given), 'base', digits(base))
  local left = math.ceil(level / rate / 1000) + 2000
  if redis.call('PTTL', key) < left then redis.call('PEXPIRE', key, string.format('%.0f', left)) end
end
"""

# KEYS   the life, the rates', the places'.
# ARGV   a fresh life; how many rates; who takes a place; for how long, in µs.
#        For each rate: amount, in how many µs, burst, what is needed, what is wanted besides, the floor, the life that
#        is of, what was spent without asking. For each place: how many there are.
# It answers with: the life, the time, which was refused (0: none, and all is charged) and then for each rate the level,
# what was ever given back, and how much it got besides.
TAKE = (
    _COMMON
    + """
local life, rates, member, lives = life_of(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local refused, found = 0, {}
for n = 1, rates do
  local a = 4 + (n - 1) * 8
  local rate = tonumber(ARGV[a + 1]) / tonumber(ARGV[a + 2])
  local burst, need = tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4])
  local floor = now + tonumber(ARGV[a + 6]) / rate
  local kept = redis.call('HMGET', KEYS[1 + n], 'level', 'at', 'given', 'base')
  local level, given, base = tonumber(kept[1]), tonumber(kept[3]) or 0, tonumber(kept[4])
  if not level then
    base = floor
    level = tonumber(ARGV[a + 6])
  else
    level = drained(level, tonumber(kept[2]), rate)
    if life ~= ARGV[a + 7] and floor > now and floor > base then
      level = level + math.min((floor - base) * rate, burst)
      base = floor
    end
  end
  level = level + tonumber(ARGV[a + 8])
  if refused == 0 and need > 0 and level + math.min(need, burst) > burst * (1 + 1e-12) then refused = n end
  found[n] = {level, given, base, need, tonumber(ARGV[a + 5]), rate, burst}
end
for n = 1, #KEYS - 1 - rates do
  local key = KEYS[1 + rates + n]
  redis.call('ZREMRANGEBYSCORE', key, '-inf', digits(now))
  redis.call('ZREMRANGEBYSCORE', key, digits(now + 2 * lives), '+inf')
  if refused == 0 and redis.call('ZCARD', key) >= tonumber(ARGV[4 + rates * 8 + n]) then refused = rates + n end
end
local answer = {life, digits(now), refused}
for n = 1, rates do
  local level, given, base, need, extra, rate, burst = unpack(found[n])
  if refused == 0 then
    level = level + need
    extra = math.max(0, math.min(extra, math.floor((burst - level) / SHARE)))
    level = level + extra
  else
    extra = 0
  end
  if level > 0 then keep(KEYS[1 + n], level, given, base, rate) end
  answer[#answer + 1] = digits(level)
  answer[#answer + 1] = digits(given)
  answer[#answer + 1] = extra
end
if refused == 0 then
  for n = 2 + rates, #KEYS do
    redis.call('ZADD', KEYS[n], digits(now + lives), member)
    redis.call('PEXPIRE', KEYS[n], math.ceil(lives / 1000))
  end
end
return answer
""".replace("SHARE", str(SHARE))
)

# KEYS   the life, the rates'.
# ARGV   the life that is known; for each rate: amount, in how many µs, what is given back, and of its receipt the
#        level, the time, and what was ever given back. Of another life nothing is given back.
GIVE_BACK = (
    _COMMON
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for n = 1, #KEYS - 1 do
  local a = 1 + (n - 1) * 6
  local rate, back = tonumber(ARGV[a + 1]) / tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  local kept = redis.call('HMGET', KEYS[1 + n], 'level', 'at', 'given', 'base')
  if kept[1] then
    local level, given = drained(tonumber(kept[1]), tonumber(kept[2]), rate), tonumber(kept[3])
    local since = math.max(0, given - tonumber(ARGV[a + 6]))
    local gone = math.max(0, now - tonumber(ARGV[a + 5])) * rate
    local undrained = math.max(tonumber(ARGV[a + 4]) - gone - since, back - gone)
    back = math.max(0, math.min(back, undrained, level))
    keep(KEYS[1 + n], level - back, given + back, tonumber(kept[4]), rate)
  end
end
return 1
"""
)

# KEYS   the life, the places'.
# ARGV   a fresh life; for how long a place is held, in µs; for each place: how many hold one, and who.
# It answers with the life and the time.
BEAT = (
    _COMMON
    + """
local life, lives, at = life_of(ARGV[1]), tonumber(ARGV[2]), 2
for n = 2, #KEYS do
  local count = tonumber(ARGV[at + 1])
  for member = at + 2, at + 1 + count do
    redis.call('ZADD', KEYS[n], digits(now + lives), ARGV[member])
  end
  redis.call('PEXPIRE', KEYS[n], math.ceil(lives / 1000))
  at = at + 1 + count
end
return {life, digits(now)}
"""
)

# KEYS   the life, then rates' and places' as they come.
# ARGV   for each: amount, in how many µs; 0 µs for places. Nothing is written.
# It answers with how much of each is used.
LOOK = (
    _COMMON
    + """
local answer = {}
for n = 1, #KEYS - 1 do
  local amount, per = tonumber(ARGV[2 * n - 1]), tonumber(ARGV[2 * n])
  if per == 0 then
    answer[n] = digits(redis.call('ZCOUNT', KEYS[1 + n], '(' .. digits(now), '+inf'))
  else
    local kept = redis.call('HMGET', KEYS[1 + n], 'level', 'at')
    answer[n] = digits(kept[1] and drained(tonumber(kept[1]), tonumber(kept[2]), amount / per) or 0)
  end
end
return answer
"""
)


TAKES, GIVES_BACK, BEATS, LOOKS = map(Script.of, (TAKE, GIVE_BACK, BEAT, LOOK))
