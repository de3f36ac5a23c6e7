-- A checkpoint's one script: what changed of one scored partition's state, whole or not at all, and only by the partition's owner.
--
-- KEYS[1]  hash of the partition
-- ARGV[1]  echoed, so that a reply cannot be taken for another's
-- ARGV[2]  the epoch under which the writer took the partition
-- ARGV[3]  the offset of the checkpoint that the writer knows to be there; empty: there is none
-- ARGV[4]  the offset of this one
-- ARGV[5], ARGV[6] and so on  fields and their values; one without a value is deleted
--
-- Returns the echo, the epoch in force and the offset of the checkpoint that was there. Nothing is written where the epoch is not the
-- writer's, or where the checkpoint is neither the one it knows nor this very one: what it does not write again may not be there.
local key = KEYS[1]
local epoch, at = redis.call('HGET', key, 'epoch') or '0', redis.call('HGET', key, 'at') or ''
if epoch == ARGV[2] and (at == ARGV[3] or at == ARGV[4]) then
  redis.call('HSET', key, 'at', ARGV[4])
  for i = 5, #ARGV, 2 do
    if ARGV[i + 1] == '' then redis.call('HDEL', key, ARGV[i]) else redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
  end
end
return { ARGV[1], epoch, at }
