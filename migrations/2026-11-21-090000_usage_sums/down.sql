DROP TABLE retention_marks;
DROP INDEX usage_events_by_key;
DROP INDEX sessions_by_start;
DROP INDEX usage_events_by_model;
DROP TABLE usage_sums;
