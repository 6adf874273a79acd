DROP TABLE machines;
DROP INDEX licenses_by_plan;
DROP TABLE plans;
