-- A row of usage is also one HTTP call: session_id is the call's id then, samples are 0, requests is 1.
ALTER TABLE usage_events ADD COLUMN requests BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_events ADD COLUMN cached_tokens BIGINT NOT NULL DEFAULT 0;     -- of the input tokens
ALTER TABLE usage_events ADD COLUMN reasoning_tokens BIGINT NOT NULL DEFAULT 0;  -- of the output tokens
ALTER TABLE usage_events ADD COLUMN usage_source TEXT NOT NULL DEFAULT 'upstream';  -- upstream, estimated, unavailable
ALTER TABLE usage_events ADD COLUMN route TEXT NOT NULL DEFAULT 'realtime';
ALTER TABLE usage_events ADD COLUMN account TEXT;                                -- the upstream account's id

-- What an instance has reserved for the calls of a license: part of the reserved units of the license's budgets.
CREATE TABLE call_holds (
    instance_id TEXT NOT NULL,
    license_id TEXT NOT NULL REFERENCES licenses (id),
    tokens BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    until_us BIGINT,                      -- null while the instance is there
    PRIMARY KEY (instance_id, license_id)
);
CREATE INDEX call_holds_by_license ON call_holds (license_id);

-- Asynchronous jobs at the provider: who asked for one, and which account has it.
CREATE TABLE upstream_tasks (
    id TEXT PRIMARY KEY NOT NULL,         -- the provider's task id
    license_id TEXT NOT NULL REFERENCES licenses (id),
    account TEXT NOT NULL,
    created_at_us BIGINT NOT NULL
);
CREATE INDEX upstream_tasks_by_time ON upstream_tasks (created_at_us);
