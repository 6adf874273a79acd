-- Where a change came from, and the orders in which entries are looked for and forgotten.
ALTER TABLE audit_log ADD COLUMN address TEXT;        -- the client's; null in entries of earlier versions
DROP INDEX audit_log_by_subject;
CREATE INDEX audit_log_by_time ON audit_log (occurred_at_us, id);
CREATE INDEX audit_log_by_subject ON audit_log (subject, occurred_at_us, id);
CREATE INDEX audit_log_by_action ON audit_log (action, occurred_at_us, id);
