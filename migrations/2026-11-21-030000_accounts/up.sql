-- Accounts with providers. One without a sealed credential is the environment's: its row keeps what the operator
-- changed about it, and its kind and address are those of the environment, whatever stands here.
CREATE TABLE accounts (
    id TEXT PRIMARY KEY NOT NULL,         -- acc_…, env-…
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,                   -- dashscope, anthropic, openai
    mode TEXT NOT NULL,                   -- compatible, native: how a DashScope account's chat is called
    base_url TEXT NOT NULL,
    sealed_credential TEXT,               -- v1.<fingerprint of ENCRYPTION_KEY>.<base64>
    models TEXT NOT NULL,                 -- JSON array of patterns, empty: by kind
    weight BIGINT NOT NULL,               -- 1 to 1000
    priority BIGINT NOT NULL,             -- lower first
    max_concurrency BIGINT,
    state TEXT NOT NULL,                  -- enabled, draining, disabled
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL
);
INSERT INTO announcements (id, version) VALUES ('accounts', 0);
