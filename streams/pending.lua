-- The pending table's one script: append entries to the logs of their keys, and say what stood before them.
--
-- KEYS[i]  log of the i-th lookup; all in one hash slot
-- ARGV[1]  echoed, so that a reply cannot be taken for another's
-- ARGV[2]  how many entries a log may hold
-- ARGV[3]  how many bytes a log may hold
-- ARGV[4]  how long logs are kept at least, in ms, 16 digits; 0: for ever. One for all, or one per lookup, end to end
-- ARGV[i + 4]  frame of the i-th lookup: entry length (2 bytes, little endian), origin (14 bytes), entry
--
-- Returns the echo, then per lookup: the log up to and including the frame of its origin where it is there; else the whole log as it was
-- before the frame was appended; or nil where the log is full. Only an append moves the expiry, and only to a later time.
local max_entries, max_bytes = tonumber(ARGV[2]), tonumber(ARGV[3])
local sub, byte, call = string.sub, string.byte, redis.call
local replies = { ARGV[1] }
local ttls, each = ARGV[4], #ARGV[4] > 16
local ttl = tonumber(ttls)

for i = 1, #KEYS do
  local key, frame = KEYS[i], ARGV[i + 4]
  if each then ttl = tonumber(sub(ttls, 16 * i - 15, 16 * i)) end
  local log = call('GET', key) or ''
  local origin = sub(frame, 3, 16)
  local at, stop, entries, found = 1, #log, 0, false
  while at <= stop and not found do
    local low, high = byte(log, at, at + 1)
    found = sub(log, at + 2, at + 15) == origin
    at = at + 16 + low + 256 * (high or 0)
    entries = entries + 1
  end
  if found then
    replies[i + 1] = sub(log, 1, at - 1)
  elseif entries >= max_entries or stop + #frame > max_bytes then
    replies[i + 1] = false
  else
    -- SET of the whole, not APPEND: that one reserves twice the room
    if stop == 0 then
      if ttl == 0 then call('SET', key, frame) else call('SET', key, frame, 'PX', ttl) end
    else
      call('SET', key, log .. frame, 'KEEPTTL')
      if ttl == 0 then call('PERSIST', key) else call('PEXPIRE', key, ttl, 'GT') end
    end
    replies[i + 1] = log
  end
end
return replies
