"""What Redis does at once when machines divide a budget, and nobody comes between.

There is one table, a hash without an end, so that Redis forgets all of it or nothing. It has a life: a word that is
made up when the table is new, and also when Redis was started anew or another took its place (its run id changes),
since it may then remember less than it said. What was granted in a life counts in that life only: a machine tells of
all its shares anew, and nothing is granted before every machine that is known has.

    life, run, since          the life, the run of Redis that it is of, and when it began
    machines                  their names, in the order in which they came
    h:M  l:M  t:M  r:M  x:M  n:M
                              of a machine: how many of these it has written down, its label, when it was seen, whether
                              it told of all its shares, whether somebody said that it is gone, and how, and whether
                              it was in no life before: then nobody may know of it, nor it of others
    g:P:M  s:P:M              of a pot and a machine: what is granted, and the number of the last word on it,
    u:P:M  p:P:M  a:P:M       what is spent or reserved of it, what is spent, and which amount is stated there, and when
    w:P:M                     what is to be granted for a call that did not get enough: how much in all, since when it
                              is waited, and when it was asked for last. It is held for who has waited longest

A pot is a budget in one of its periods for one of what it counts apart. Amounts are millionths of a dollar, in whole
numbers.
"""

from __future__ import annotations

from orchestrator.core.redis_scripts import Script

TABLE = "orchestrator:{budgets}"
WANTED = TABLE + ":wanted"  # pots somebody could not get enough of, by when; it may be lost
KEYS = (TABLE, WANTED)
SHARE = 16  # of what is left, one part is granted at a time beyond what is needed, where there are others
WANTED_S = 3  # for so long it is remembered
HELD_S = 10  # for so long what comes back is held for who waited for it; a caller is told to come again after two
STATED_S = 300  # for so long an amount counts that a machine stated
YOUNG_S = 3  # for so long in a life nothing is granted to who is new, until all who are there have spoken
LATE_S = 86_400  # for so long after its end a period may be asked for

_COMMON = """
local clock = redis.call('TIME')
local now = tonumber(clock[1])
local function whole(number) return string.format('%.0f', number) end
local function run_of()
  local told = redis.pcall('INFO', 'server')
  return type(told) == 'string' and string.match(told, 'run_id:(%w+)') or ''
end
local function life_of(fresh)
  local kept, run = redis.call('HMGET', KEYS[1], 'life', 'run'), run_of()
  if kept[1] and kept[2] == run then return kept[1] end
  if fresh == '' then return '' end
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'life', fresh, 'run', run, 'since', now)
  return fresh
end
local function machines()
  local names = {}
  for name in string.gmatch(redis.call('HGET', KEYS[1], 'machines') or '', '%S+') do names[#names + 1] = name end
  return names
end
"""

# ARGV   who says it, a fresh life, the life it knows, its label, whether it told of all its shares in that life; how
#        many machines it has written down, their names; then for each that is gone its name and how.
# It answers with: the life, the time, the pots that are wanted, and then for each machine its name, label, when it was
# seen, how it is gone, whether it told of all its shares, and whether nothing is granted before it says more.
HELLO = (
    _COMMON
    + """
local me, life = ARGV[1], life_of(ARGV[2])
local names, known, said = machines(), {}, tonumber(ARGV[6])
for _, name in ipairs(names) do known[name] = true end
local written = {[me] = true}
local function add(name)
  if not known[name] then
    known[name] = true
    names[#names + 1] = name
  end
end
for n = 7, 6 + said do
  written[ARGV[n]] = true
  add(ARGV[n])
end
if not known[me] and ARGV[3] == '' then redis.call('HSET', KEYS[1], 'n:' .. me, 1) end
add(me)
redis.call('HSET', KEYS[1], 'machines', table.concat(names, ' '))
local heard = 0
while heard < #names and written[names[heard + 1]] do heard = heard + 1 end
redis.call('HSET', KEYS[1], 'h:' .. me, heard, 'l:' .. me, ARGV[4], 't:' .. me, now)
if life == ARGV[3] and ARGV[5] == '1' then redis.call('HSET', KEYS[1], 'r:' .. me, 1) end
for n = 7 + said, #ARGV, 2 do
  if ARGV[n] ~= me then redis.call('HSETNX', KEYS[1], 'x:' .. ARGV[n], ARGV[n + 1]) end
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - WANTED_S)
local answer = {life, now, redis.call('ZRANGE', KEYS[2], 0, -1)}
local place = 0
for n, name in ipairs(names) do if name == me then place = n end end
for _, name in ipairs(names) do
  local of = redis.call('HMGET', KEYS[1], 'l:' .. name, 't:' .. name, 'x:' .. name, 'r:' .. name, 'h:' .. name)
  local waits = not of[3] and (not of[4] or (tonumber(of[5]) or 0) < place)
  answer[#answer + 1] = {name, of[1] or '', of[2] or '', of[3] or '', of[4] or '', waits and '1' or ''}
end
return answer
""".replace("WANTED_S", str(WANTED_S))
)

# ARGV   who says it, the life it is of, and then for each pot: its name, the number of the last word that was heard,
#        what is held, what is spent or reserved, what is spent, the amount (empty: it counts there no more), when its
#        period ends (0: never), and how much is to be held (0: what is held does).
# It answers with the life, and where that is the one it is of, for each pot: the number, what is granted, and for each
# other machine that knows the pot its name, what is granted, spent or reserved, spent, and stated there.
TELL = (
    _COMMON
    + """
local me, life = ARGV[1], life_of('')
if life ~= ARGV[2] then return {life} end
local names, place, is_open, others = machines(), 0, true, {}
for n, name in ipairs(names) do if name == me then place = n end end
if place == 0 or redis.call('HEXISTS', KEYS[1], 'x:' .. me) == 1 then return {''} end
local there, since = 0, tonumber(redis.call('HGET', KEYS[1], 'since'))
if now - since < YOUNG_S and redis.call('HEXISTS', KEYS[1], 'n:' .. me) == 1 then is_open = false end
for _, name in ipairs(names) do
  local of = redis.call('HMGET', KEYS[1], 'x:' .. name, 'r:' .. name, 'h:' .. name)
  if not of[1] then
    there = there + 1
    if of[2] ~= '1' or (tonumber(of[3]) or 0) < place then is_open = false end
  end
  if name ~= me then others[#others + 1] = {name, of[1]} end
end
local precisely = now + tonumber(clock[2]) / 1e6
local function want(said)
  local wanted, since, last = string.match(said or '', '^(%d+) (%S+) (%d+)$')
  if wanted and now - tonumber(last) <= HELD_S then return tonumber(wanted), tonumber(since) end
end
local answer = {life}
for n = 3, #ARGV, 8 do
  local pot, number, held, used = ARGV[n], tonumber(ARGV[n + 1]), tonumber(ARGV[n + 2]), tonumber(ARGV[n + 3])
  local amount, ends, target = tonumber(ARGV[n + 5]), tonumber(ARGV[n + 6]), tonumber(ARGV[n + 7])
  local of = pot .. ':' .. me
  local kept = redis.call('HMGET', KEYS[1], 'g:' .. of, 's:' .. of)
  local granted, last = tonumber(kept[1]), tonumber(kept[2]) or 0
  local should = math.max(used, granted or 0)
  if number == last then should = math.max(used, held) elseif number > last then should = math.max(should, held) end
  if granted ~= should then
    granted = should
    last = math.max(last, number) + 1
  end
  local told, sum, least, free, waiting = {}, granted, amount, granted - used, {}
  for _, other in ipairs(others) do
    local at = pot .. ':' .. other[1]
    local there = redis.call('HMGET', KEYS[1], 'g:' .. at, 'u:' .. at, 'p:' .. at, 'a:' .. at, 'w:' .. at)
    if there[1] and other[2] ~= 'moved' then
      local counts = tonumber(other[2] and there[2] or there[1])
      sum, free = sum + counts, free + counts - tonumber(there[2])
      local stated, when = string.match(there[4] or '', '^(%d+) (%d+)$')
      if not other[2] and stated and now - tonumber(when) <= STATED_S then
        least = math.min(least or tonumber(stated), tonumber(stated))
      else
        stated = ''
      end
      if not other[2] and there[5] then waiting[#waiting + 1] = {there[5], counts, tonumber(there[2])} end
      told[#told + 1] = {other[1], whole(counts), there[2], there[3], stated}
    end
  end
  local left = (least or 0) - sum
  if target > granted then
    local is_over = ends > 0 and now > ends + LATE_S
    local since, mine = precisely, {want(redis.call('HGET', KEYS[1], 'w:' .. of))}
    if mine[1] then since = mine[2] end
    local mine_to_have, others_wait = left, false
    for _, one in ipairs(waiting) do
      local wanted, began = want(one[1])
      local can_be_had = wanted and wanted - one[3] <= left + free
      if can_be_had and wanted > one[2] then
        others_wait = true
        if began < since then mine_to_have = mine_to_have - (wanted - one[2]) end
      end
    end
    if is_open and not is_over and mine_to_have > 0 then
      local more = math.max(target - granted, there == 1 and left or math.floor(mine_to_have / SHARE))
      granted = granted + math.min(more, mine_to_have)
      last = last + 1
    end
    if target <= granted then
      if not others_wait then redis.call('ZREM', KEYS[2], pot) end
      redis.call('HDEL', KEYS[1], 'w:' .. of)
    elseif not is_over then
      redis.call('ZADD', KEYS[2], now, pot)
      redis.call('HSET', KEYS[1], 'w:' .. of, string.format('%.0f %.6f %.0f', target, since, now))
    end
  elseif left < 0 and free > 0 and amount then
    redis.call('ZADD', KEYS[2], now, pot)
  end
  local stated = amount and whole(amount) .. ' ' .. whole(now) or ''
  redis.call(
    'HSET', KEYS[1], 'g:' .. of, whole(granted), 's:' .. of, whole(last),
    'u:' .. of, whole(used), 'p:' .. of, ARGV[n + 4], 'a:' .. of, stated
  )
  answer[#answer + 1] = {whole(last), whole(granted), told}
end
return answer
""".replace("STATED_S", str(STATED_S))
    .replace("SHARE", str(SHARE))
    .replace("LATE_S", str(LATE_S))
    .replace("YOUNG_S", str(YOUNG_S))
    .replace("HELD_S", str(HELD_S))
)

# Of machines that are gone, whoever remembers tells what they had.
# ARGV   the life it is of; then for each: pot, machine, what was spent or reserved, what was spent.
# It answers with the life.
BEQUEATH = (
    _COMMON
    + """
local life = life_of('')
if life ~= ARGV[1] then return {life} end
for n = 2, #ARGV, 4 do
  local at = ARGV[n] .. ':' .. ARGV[n + 1]
  local kept = redis.call('HMGET', KEYS[1], 'g:' .. at, 'u:' .. at, 'p:' .. at)
  local function most(place, said) return whole(math.max(tonumber(kept[place]) or 0, tonumber(said))) end
  local granted, used, spent = most(1, ARGV[n + 2]), most(2, ARGV[n + 2]), most(3, ARGV[n + 3])
  redis.call('HSET', KEYS[1], 'g:' .. at, granted, 'u:' .. at, used, 'p:' .. at, spent)
end
return {life}
"""
)

# ARGV   who says it, the life it is of, and pots whose period is long over: what was said of them is forgotten.
# It answers with the life.
FORGET = (
    _COMMON
    + """
local life = life_of('')
if life ~= ARGV[2] then return {life} end
for n = 3, #ARGV do
  local of = ARGV[n] .. ':' .. ARGV[1]
  redis.call('HDEL', KEYS[1], 'g:' .. of, 's:' .. of, 'u:' .. of, 'p:' .. of, 'a:' .. of, 'w:' .. of)
end
return {life}
"""
)

HELLOS, TELLS, BEQUEATHS, FORGETS = map(Script.of, (HELLO, TELL, BEQUEATH, FORGET))
