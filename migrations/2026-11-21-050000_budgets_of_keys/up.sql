-- A key may allow less than its license, and have budgets of its own beside its license's.
ALTER TABLE api_keys ADD COLUMN narrowing TEXT NOT NULL DEFAULT '{}';    -- JSON object; what it doesn't name is the license's
ALTER TABLE api_keys ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}';     -- JSON object
ALTER TABLE api_keys ADD COLUMN previous_hash TEXT;                      -- of the secret before the last rotation
ALTER TABLE api_keys ADD COLUMN previous_until_us BIGINT;                -- until when that one is accepted
ALTER TABLE api_keys ADD COLUMN expires_after_first_use_us BIGINT;       -- a span, set running by the first use
ALTER TABLE api_keys ADD COLUMN first_used_at_us BIGINT;

ALTER TABLE budgets ADD COLUMN key_id TEXT NOT NULL DEFAULT '';          -- empty: the license's own
ALTER TABLE budgets ADD COLUMN soft_limit_units BIGINT;                  -- beyond it callers are warned; null: 80 %
CREATE INDEX budgets_by_key ON budgets (key_id);

-- What a rolling budget counts, in slices of time; when a slice leaves the window it counts no more. A rolling
-- budget's period_end_us is when its next slice leaves, null while it has none.
CREATE TABLE budget_slices (
    budget_id TEXT NOT NULL REFERENCES budgets (id) ON DELETE CASCADE,
    leaves_at_us BIGINT NOT NULL,
    used_units BIGINT NOT NULL,
    PRIMARY KEY (budget_id, leaves_at_us)
);
CREATE INDEX budget_slices_by_end ON budget_slices (leaves_at_us);

-- What is kept and held is for a license, or for one of its keys (empty: for the license itself).
CREATE TABLE cushions_of_keys (
    instance_id TEXT NOT NULL,
    license_id TEXT NOT NULL REFERENCES licenses (id),
    key_id TEXT NOT NULL,
    units BIGINT NOT NULL,
    until_us BIGINT,                      -- null while the instance is there
    PRIMARY KEY (instance_id, license_id, key_id)
);
INSERT INTO cushions_of_keys SELECT instance_id, license_id, '', units, until_us FROM cushions;
DROP TABLE cushions;
ALTER TABLE cushions_of_keys RENAME TO cushions;
CREATE INDEX cushions_by_license ON cushions (license_id);

CREATE TABLE holds_of_keys (
    instance_id TEXT NOT NULL,
    license_id TEXT NOT NULL REFERENCES licenses (id),
    key_id TEXT NOT NULL,
    tokens BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    until_us BIGINT,                      -- null while the instance is there
    PRIMARY KEY (instance_id, license_id, key_id)
);
INSERT INTO holds_of_keys SELECT instance_id, license_id, '', tokens, requests, until_us FROM call_holds;
DROP TABLE call_holds;
ALTER TABLE holds_of_keys RENAME TO call_holds;
CREATE INDEX call_holds_by_license ON call_holds (license_id);
