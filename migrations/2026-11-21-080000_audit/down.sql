DROP INDEX audit_log_by_action;
DROP INDEX audit_log_by_subject;
DROP INDEX audit_log_by_time;
CREATE INDEX audit_log_by_subject ON audit_log (subject, id);
ALTER TABLE audit_log DROP COLUMN address;
