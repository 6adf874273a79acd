-- What was used, summed up, for ever: rows of usage_events go after USAGE_RETENTION_DAYS, these stay. Each row of
-- usage, and each session that begins, is added in its own transaction to one row of every grain:
--   quarter        a quarter of an hour, at which the days of every time zone begin, by license, key and model
--   quarter_model  the same of all licenses, by model
--   day            a day of UTC, by license, key and model
--   day_license    the same by license
--   day_model      the same of all licenses, by model
-- What a grain does not tell apart is ''; so is the key of usage without one.
CREATE TABLE usage_sums (
    grain TEXT NOT NULL,
    start_us BIGINT NOT NULL,
    license_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    samples BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,        -- of the input tokens
    reasoning_tokens BIGINT NOT NULL,     -- of the output tokens
    requests BIGINT NOT NULL,             -- HTTP calls
    sessions BIGINT NOT NULL,             -- sessions that began
    PRIMARY KEY (grain, start_us, license_id, key_id, model)
);
CREATE INDEX usage_sums_by_license ON usage_sums (license_id, grain, start_us);
CREATE INDEX usage_events_by_model ON usage_events (model, occurred_at_us);
CREATE INDEX usage_events_by_key ON usage_events (key_id, occurred_at_us) WHERE key_id IS NOT NULL;
CREATE INDEX sessions_by_start ON sessions (started_at_us);

-- What an hourly task removes: rows from before this moment are gone, or go next.
CREATE TABLE retention_marks (
    id TEXT PRIMARY KEY NOT NULL,         -- usage
    kept_from_us BIGINT NOT NULL
);
INSERT INTO retention_marks (id, kept_from_us) VALUES ('usage', 0);

-- sums of what is there
-- In the order of time, as they are read: a database keeps rows as they come.
INSERT INTO usage_sums (grain, start_us, license_id, key_id, model, samples, input_tokens, output_tokens,
    cached_tokens, reasoning_tokens, requests, sessions)
SELECT 'quarter', at_us / 900000000 * 900000000, license_id, key_id, model, CAST(SUM(samples) AS BIGINT),
    CAST(SUM(input_tokens) AS BIGINT), CAST(SUM(output_tokens) AS BIGINT), CAST(SUM(cached_tokens) AS BIGINT),
    CAST(SUM(reasoning_tokens) AS BIGINT), CAST(SUM(requests) AS BIGINT), CAST(SUM(sessions) AS BIGINT)
FROM (
    SELECT occurred_at_us AS at_us, license_id, COALESCE(key_id, '') AS key_id, model, samples, input_tokens,
        output_tokens, cached_tokens, reasoning_tokens, requests, 0 AS sessions
    FROM usage_events
    UNION ALL
    SELECT started_at_us, license_id, COALESCE(key_id, ''), model, 0, 0, 0, 0, 0, 0, 1 FROM sessions
) AS used
GROUP BY 2, 3, 4, 5 ORDER BY 2;
INSERT INTO usage_sums (grain, start_us, license_id, key_id, model, samples, input_tokens, output_tokens,
    cached_tokens, reasoning_tokens, requests, sessions)
SELECT 'quarter_model', start_us, '', '', model, CAST(SUM(samples) AS BIGINT),
    CAST(SUM(input_tokens) AS BIGINT), CAST(SUM(output_tokens) AS BIGINT), CAST(SUM(cached_tokens) AS BIGINT),
    CAST(SUM(reasoning_tokens) AS BIGINT), CAST(SUM(requests) AS BIGINT), CAST(SUM(sessions) AS BIGINT)
FROM usage_sums WHERE grain = 'quarter' GROUP BY 2, 5 ORDER BY 2;
INSERT INTO usage_sums (grain, start_us, license_id, key_id, model, samples, input_tokens, output_tokens,
    cached_tokens, reasoning_tokens, requests, sessions)
SELECT 'day', start_us / 86400000000 * 86400000000, license_id, key_id, model, CAST(SUM(samples) AS BIGINT),
    CAST(SUM(input_tokens) AS BIGINT), CAST(SUM(output_tokens) AS BIGINT), CAST(SUM(cached_tokens) AS BIGINT),
    CAST(SUM(reasoning_tokens) AS BIGINT), CAST(SUM(requests) AS BIGINT), CAST(SUM(sessions) AS BIGINT)
FROM usage_sums WHERE grain = 'quarter' GROUP BY 2, 3, 4, 5 ORDER BY 2;
INSERT INTO usage_sums (grain, start_us, license_id, key_id, model, samples, input_tokens, output_tokens,
    cached_tokens, reasoning_tokens, requests, sessions)
SELECT 'day_license', start_us, license_id, '', '', CAST(SUM(samples) AS BIGINT),
    CAST(SUM(input_tokens) AS BIGINT), CAST(SUM(output_tokens) AS BIGINT), CAST(SUM(cached_tokens) AS BIGINT),
    CAST(SUM(reasoning_tokens) AS BIGINT), CAST(SUM(requests) AS BIGINT), CAST(SUM(sessions) AS BIGINT)
FROM usage_sums WHERE grain = 'day' GROUP BY 2, 3 ORDER BY 2;
INSERT INTO usage_sums (grain, start_us, license_id, key_id, model, samples, input_tokens, output_tokens,
    cached_tokens, reasoning_tokens, requests, sessions)
SELECT 'day_model', start_us, '', '', model, CAST(SUM(samples) AS BIGINT),
    CAST(SUM(input_tokens) AS BIGINT), CAST(SUM(output_tokens) AS BIGINT), CAST(SUM(cached_tokens) AS BIGINT),
    CAST(SUM(reasoning_tokens) AS BIGINT), CAST(SUM(requests) AS BIGINT), CAST(SUM(sessions) AS BIGINT)
FROM usage_sums WHERE grain = 'day' GROUP BY 2, 5 ORDER BY 2;
