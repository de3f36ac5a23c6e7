-- A checkpoint's one script: what changed of one scored partition's state, whole or not at all, and only by the partition's owner.
--
-- KEYS[1]  hash of the partition
-- ARGV[1]  echoed, so that a reply cannot be taken for another's
-- ARGV[2]  the epoch under which the writer took the partition
-- ARGV[3], ARGV[4] and so on  fields and their values; one without a value is deleted
--
-- Returns the echo and the epoch in force; nothing is written where that is not the writer's.
local key = KEYS[1]
local epoch = redis.call('HGET', key, 'epoch') or '0'
if epoch == ARGV[2] then
  for i = 3, #ARGV, 2 do
    if ARGV[i + 1] == '' then redis.call('HDEL', key, ARGV[i]) else redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
  end
end
return { ARGV[1], epoch }
