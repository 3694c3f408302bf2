-- History in packs: a row for many messages, and one for many attempts. Each written row and each written index row is
-- billed and takes its time, so the usual message, delivered at once, has no row of its own. A stream writes what it did
-- in half a second or so as one pack of messages, and one pack of attempts for each endpoint.
--
-- A message names its targets in its pack. A target without a row in `deliveries` was delivered at the first attempt;
-- what failed, waits, is dead or cancelled, or was sent again has a row there, which overrides the pack.

-- No version with these tables was ever released: what they hold is dropped, not moved.
DROP TABLE messages;
DROP TABLE attempts;

CREATE TABLE message_packs (
  tenant_id TEXT NOT NULL,
  time INTEGER NOT NULL, -- of its newest message
  stream TEXT NOT NULL, -- tenant/kind/name
  first_offset INTEGER NOT NULL, -- of `count` that follow one another
  first_time INTEGER NOT NULL, -- of its oldest message, a second before the newest at most
  count INTEGER NOT NULL,
  indexed_ids INTEGER NOT NULL, -- how many of them have a row in `message_ids`
  topic TEXT NOT NULL,
  messages TEXT NOT NULL, -- JSON, read and written by src/storage/message-pack.ts
  PRIMARY KEY (tenant_id, time, stream, first_offset)
) STRICT, WITHOUT ROWID;
-- the list of one topic, newest first, however rare the topic is
CREATE INDEX message_packs_by_topic ON message_packs (tenant_id, topic, time);

-- Where messages are whose id does not tell it. Ids that the gateway made begin with the time they were made at, and
-- are looked for in the packs of that time; these are ids that publishers chose, and messages handed on late.
CREATE TABLE message_ids (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL, -- unique for 24 h in its stream, no further
  time INTEGER NOT NULL,
  stream TEXT NOT NULL,
  offset INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, id, time, stream, offset)
) STRICT, WITHOUT ROWID;

-- Messages whose bytes were removed on request. Not in their packs: a stream may write a pack again.
CREATE TABLE history_expunged (
  tenant_id TEXT NOT NULL,
  time INTEGER NOT NULL,
  stream TEXT NOT NULL,
  offset INTEGER NOT NULL,
  expunged_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, time, stream, offset)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempt_packs (
  tenant_id TEXT NOT NULL,
  endpoint_id TEXT NOT NULL, -- the endpoint that was attempted
  time INTEGER NOT NULL, -- the second in which all of them began, ms
  stream TEXT NOT NULL,
  number INTEGER NOT NULL, -- no other pack of the stream has it
  topic TEXT NOT NULL,
  first_offset INTEGER NOT NULL, -- of the messages, the lowest and the highest
  last_offset INTEGER NOT NULL,
  count INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  durations TEXT NOT NULL, -- JSON object: how many took about so many ms
  attempts TEXT NOT NULL, -- JSON, read and written by src/storage/attempt-pack.ts
  PRIMARY KEY (tenant_id, endpoint_id, time, stream, number)
) STRICT, WITHOUT ROWID;
-- the failures of an endpoint, which may be few among millions
CREATE INDEX attempt_packs_failed ON attempt_packs (tenant_id, endpoint_id, time) WHERE failed > 0;
