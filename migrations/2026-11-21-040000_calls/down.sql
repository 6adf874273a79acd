DROP TABLE upstream_tasks;
DROP TABLE call_holds;
ALTER TABLE usage_events DROP COLUMN account;
ALTER TABLE usage_events DROP COLUMN route;
ALTER TABLE usage_events DROP COLUMN usage_source;
ALTER TABLE usage_events DROP COLUMN reasoning_tokens;
ALTER TABLE usage_events DROP COLUMN cached_tokens;
ALTER TABLE usage_events DROP COLUMN requests;
