-- The pending table's one script: append entries to the logs of their keys, and say what stood before them.
--
-- KEYS[i]  log of the i-th lookup; all in one hash slot
-- ARGV[1]  echoed, so that a reply cannot be taken for another's
-- ARGV[2]  how many entries a log may hold; 0: nothing is appended
-- ARGV[3]  how many bytes a log may hold
-- ARGV[4]  how long logs are kept at least, in ms, 16 digits; 0: for ever. One for all, or one per lookup, end to end
-- ARGV[5]  the lookups' frames, end to end: entry length (2 bytes, little endian), origin (14 bytes), entry
--
-- Returns the echo, four bytes per lookup and what they speak of, end to end. The first of the four says what that is:
--   0  the whole log as it was before the frame was appended
--   1  the log up to and including the frame of its origin, which was there
--   2  nothing: the log is full
-- and the others how many bytes it has, little endian. Only an append moves the expiry, and only to a later time.
local max_entries, max_bytes = tonumber(ARGV[2]), tonumber(ARGV[3])
local sub, byte, char, call = string.sub, string.byte, string.char, redis.call
local ttls, each, frames = ARGV[4], #ARGV[4] > 16, ARGV[5]
local from, ttl = 1, nil
local told, logs, n = {}, {}, 0
local APPENDED, FULL = '\0\0\0\0', '\2\0\0\0'

-- As text: each call would print a number anew.
local function kept(digits)
  local short = string.gsub(digits, '^0+', '')
  return short ~= '' and short or false
end

local function tell(i, what, log)
  local size = #log
  told[i] = char(what, size % 256, math.floor(size / 256) % 256, math.floor(size / 65536))
  n = n + 1
  logs[n] = log
end

if not each then ttl = kept(ttls) end
for i = 1, #KEYS do
  local key, length, high = KEYS[i], byte(frames, from, from + 1)
  local to = from + 15 + length + 256 * high
  local frame = sub(frames, from, to)
  from = to + 1
  if each then ttl = kept(sub(ttls, 16 * i - 15, 16 * i)) end
  local log
  if max_entries < 1 or #frame > max_bytes then
    log = call('GET', key)
    if not log then told[i] = FULL end
  else
    -- one command where nothing stood there; where something did, it is left as it was, and returned
    if ttl then log = call('SET', key, frame, 'NX', 'GET', 'PX', ttl) else log = call('SET', key, frame, 'NX', 'GET') end
    if not log then told[i] = APPENDED end
  end
  if log then
    local origin = sub(frame, 3, 16)
    local at, stop, entries, found = 1, #log, 0, false
    while at <= stop and not found do
      local low, more = byte(log, at, at + 1)
      found = sub(log, at + 2, at + 15) == origin
      at = at + 16 + low + 256 * (more or 0)
      entries = entries + 1
    end
    if found then
      tell(i, 1, sub(log, 1, at - 1))
    elseif entries >= max_entries or stop + #frame > max_bytes then
      told[i] = FULL
    else
      -- SET of the whole, not APPEND: that one reserves twice the room
      call('SET', key, log .. frame, 'KEEPTTL')
      if ttl then call('PEXPIRE', key, ttl, 'GT') else call('PERSIST', key) end
      tell(i, 0, log)
    end
  end
end
return { ARGV[1], table.concat(told), table.concat(logs) }
