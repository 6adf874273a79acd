-- Times are microseconds since 1970 (UTC), `*_us`; audio is counted in samples of 16,000 a second;
-- JSON columns are text. One dialect that PostgreSQL and SQLite both read.

CREATE TABLE licenses (
    id TEXT PRIMARY KEY NOT NULL,
    token_id TEXT NOT NULL,
    plan TEXT,
    label TEXT,
    status TEXT NOT NULL,                 -- active, suspended, revoked
    scopes TEXT NOT NULL,                 -- JSON array
    models TEXT NOT NULL,                 -- JSON array, empty: every model
    allowed_ips TEXT NOT NULL,            -- JSON array of CIDRs, empty: every address
    limits TEXT NOT NULL,                 -- JSON object of the single-valued limits
    metadata TEXT NOT NULL,               -- JSON object
    max_sessions BIGINT,
    max_session_seconds BIGINT,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    expires_at_us BIGINT,
    expires_after_first_use_us BIGINT,    -- a span, set running by the first use
    first_used_at_us BIGINT
);
CREATE INDEX licenses_by_status ON licenses (status, id);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY NOT NULL,         -- the public part of the key
    license_id TEXT NOT NULL REFERENCES licenses (id),
    own_license BOOLEAN NOT NULL,         -- the license was made for this key and ends with it
    secret_hash TEXT NOT NULL,            -- SHA-256 of the whole key, hex
    label TEXT,
    status TEXT NOT NULL,                 -- active, blocked, deleted
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    expires_at_us BIGINT
);
CREATE INDEX api_keys_by_license ON api_keys (license_id, id);

CREATE TABLE budgets (
    id TEXT PRIMARY KEY NOT NULL,
    license_id TEXT NOT NULL REFERENCES licenses (id),
    unit TEXT NOT NULL,                   -- audio_seconds (counted in samples), tokens, requests
    window_span TEXT NOT NULL,            -- 5h, 1d, 1w, 1mo, lifetime
    window_mode TEXT NOT NULL,            -- fixed, rolling
    tz TEXT NOT NULL,
    limit_units BIGINT NOT NULL,
    used_units BIGINT NOT NULL DEFAULT 0,
    reserved_units BIGINT NOT NULL DEFAULT 0,
    period_start_us BIGINT NOT NULL,
    period_end_us BIGINT                  -- null: never
);
CREATE INDEX budgets_by_license ON budgets (license_id, unit);
CREATE INDEX budgets_by_period_end ON budgets (period_end_us);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY NOT NULL,
    license_id TEXT NOT NULL REFERENCES licenses (id),
    key_id TEXT,
    model TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    status TEXT NOT NULL,                 -- live, ended
    end_reason TEXT,
    started_at_us BIGINT NOT NULL,
    ended_at_us BIGINT,
    booked_samples BIGINT NOT NULL DEFAULT 0,     -- high-water mark: only ever rises
    leased_samples BIGINT NOT NULL DEFAULT 0,     -- the mark that may be reached without asking again
    recorded_samples BIGINT NOT NULL DEFAULT 0,   -- covered by usage_events
    booked_input_tokens BIGINT NOT NULL DEFAULT 0,
    booked_output_tokens BIGINT NOT NULL DEFAULT 0,
    recorded_input_tokens BIGINT NOT NULL DEFAULT 0,
    recorded_output_tokens BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX sessions_by_status ON sessions (status, instance_id);
CREATE INDEX sessions_by_license ON sessions (license_id, started_at_us);

-- Processes on this store; one that was not seen for long has left its live sessions behind.
CREATE TABLE instances (
    id TEXT PRIMARY KEY NOT NULL,
    seen_at_us BIGINT NOT NULL
);

-- Append-only: each row covers a session's usage from the row before it.
CREATE TABLE usage_events (
    session_id TEXT NOT NULL,
    mark_samples BIGINT NOT NULL,         -- the session's high-water mark after this row
    mark_tokens BIGINT NOT NULL,          -- likewise, input and output tokens together
    license_id TEXT NOT NULL,
    key_id TEXT,
    model TEXT NOT NULL,
    samples BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    occurred_at_us BIGINT NOT NULL,
    PRIMARY KEY (session_id, mark_samples, mark_tokens)
);
CREATE INDEX usage_events_by_time ON usage_events (occurred_at_us);
CREATE INDEX usage_events_by_license ON usage_events (license_id, occurred_at_us);

-- One-time credentials for browsers.
CREATE TABLE tickets (
    secret_hash TEXT PRIMARY KEY NOT NULL,
    license_id TEXT NOT NULL REFERENCES licenses (id),
    key_id TEXT,
    expires_at_us BIGINT NOT NULL
);
CREATE INDEX tickets_by_expiry ON tickets (expires_at_us);

CREATE TABLE audit_log (
    id TEXT PRIMARY KEY NOT NULL,
    occurred_at_us BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,                 -- JSON object, without secrets
    request_id TEXT NOT NULL
);
CREATE INDEX audit_log_by_subject ON audit_log (subject, id);

CREATE TABLE idempotency_keys (
    id TEXT PRIMARY KEY NOT NULL,         -- SHA-256 of route and key, hex
    body_hash TEXT NOT NULL,
    subject TEXT NOT NULL,                -- id of what the first request made
    created_at_us BIGINT NOT NULL
);
CREATE INDEX idempotency_keys_by_time ON idempotency_keys (created_at_us);
