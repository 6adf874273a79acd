-- Sessions outlive their instance: another one takes a session over by raising its epoch, which fences the one
-- before. A session without an instance is parked until its window is over; only a session that is not ended
-- keeps its settings and the hash of its resume token.
ALTER TABLE sessions ADD COLUMN epoch BIGINT NOT NULL DEFAULT 1;
ALTER TABLE sessions ADD COLUMN resume_hash TEXT;             -- SHA-256 of the resume token, hex; null: not resumable
ALTER TABLE sessions ADD COLUMN resume_until_us BIGINT;       -- a parked session's last moment
ALTER TABLE sessions ADD COLUMN away_since_us BIGINT;         -- since when no client is attached
ALTER TABLE sessions ADD COLUMN settings TEXT;                -- the client's merged session.update, JSON
ALTER TABLE sessions ADD COLUMN ack_samples BIGINT NOT NULL DEFAULT 0;  -- done up to here, at the client's rate
ALTER TABLE sessions ADD COLUMN ack_metered BIGINT NOT NULL DEFAULT 0;  -- likewise, in metered samples
ALTER TABLE sessions ADD COLUMN end_wanted TEXT;              -- why the operator wants it to end, until it does
CREATE UNIQUE INDEX sessions_by_resume_hash ON sessions (resume_hash);
CREATE INDEX sessions_by_license_status ON sessions (license_id, status);

-- Raised with every change that may concern live sessions, in the same transaction.
CREATE TABLE announcements (
    id TEXT PRIMARY KEY NOT NULL,
    version BIGINT NOT NULL
);
INSERT INTO announcements (id, version) VALUES ('sessions', 0);
