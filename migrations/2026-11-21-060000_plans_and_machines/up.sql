-- Named sets of limits. A license takes what it leaves out from its plan when it is issued: it keeps a copy.
CREATE TABLE plans (
    id TEXT PRIMARY KEY NOT NULL,         -- the name that the operator chose
    fields TEXT NOT NULL,                 -- JSON object, as the admin API takes it
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL
);
CREATE INDEX licenses_by_plan ON licenses (plan, id);

-- The seats of licenses: each row is a machine that has one.
CREATE TABLE machines (
    license_id TEXT NOT NULL REFERENCES licenses (id),
    fingerprint TEXT NOT NULL,            -- what the customer's program calls the machine
    key_id TEXT NOT NULL DEFAULT '',      -- the key that activated it last; empty: the license's own token
    name TEXT,
    metadata TEXT NOT NULL DEFAULT '{}',  -- JSON object
    activated_at_us BIGINT NOT NULL,
    seen_at_us BIGINT,                    -- its last heartbeat; null: it never sent one, and keeps its seat
    PRIMARY KEY (license_id, fingerprint)
);
