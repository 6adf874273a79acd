-- Audio that an instance keeps for a license's live sessions, for when this store is away: part of the reserved
-- units of the license's budgets, until the instance gives it back, or is gone for longer than it could use it.
CREATE TABLE cushions (
    instance_id TEXT NOT NULL,
    license_id TEXT NOT NULL REFERENCES licenses (id),
    units BIGINT NOT NULL,
    until_us BIGINT,                      -- null while the instance is there
    PRIMARY KEY (instance_id, license_id)
);
CREATE INDEX cushions_by_license ON cushions (license_id);
