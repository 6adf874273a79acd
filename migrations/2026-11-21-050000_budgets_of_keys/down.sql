-- Keys' budgets are nobody's then; what is held for a license's keys is the license's.
CREATE TABLE licenses_holds (
    instance_id TEXT NOT NULL,
    license_id TEXT NOT NULL REFERENCES licenses (id),
    tokens BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    until_us BIGINT,
    PRIMARY KEY (instance_id, license_id)
);
INSERT INTO licenses_holds SELECT instance_id, license_id, SUM(tokens), SUM(requests), MAX(until_us)
    FROM call_holds GROUP BY instance_id, license_id;
DROP TABLE call_holds;
ALTER TABLE licenses_holds RENAME TO call_holds;
CREATE INDEX call_holds_by_license ON call_holds (license_id);

CREATE TABLE licenses_cushions (
    instance_id TEXT NOT NULL,
    license_id TEXT NOT NULL REFERENCES licenses (id),
    units BIGINT NOT NULL,
    until_us BIGINT,
    PRIMARY KEY (instance_id, license_id)
);
INSERT INTO licenses_cushions SELECT instance_id, license_id, SUM(units), MAX(until_us)
    FROM cushions GROUP BY instance_id, license_id;
DROP TABLE cushions;
ALTER TABLE licenses_cushions RENAME TO cushions;
CREATE INDEX cushions_by_license ON cushions (license_id);

DROP TABLE budget_slices;
DELETE FROM budgets WHERE key_id <> '' OR window_mode = 'rolling';
DROP INDEX budgets_by_key;
ALTER TABLE budgets DROP COLUMN soft_limit_units;
ALTER TABLE budgets DROP COLUMN key_id;
ALTER TABLE api_keys DROP COLUMN first_used_at_us;
ALTER TABLE api_keys DROP COLUMN expires_after_first_use_us;
ALTER TABLE api_keys DROP COLUMN previous_until_us;
ALTER TABLE api_keys DROP COLUMN previous_hash;
ALTER TABLE api_keys DROP COLUMN metadata;
ALTER TABLE api_keys DROP COLUMN narrowing;
