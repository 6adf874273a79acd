DROP TABLE idempotency_keys;
DROP TABLE audit_log;
DROP TABLE tickets;
DROP TABLE usage_events;
DROP TABLE sessions;
DROP TABLE budgets;
DROP TABLE api_keys;
DROP TABLE licenses;
