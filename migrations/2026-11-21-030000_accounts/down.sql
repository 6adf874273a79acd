DELETE FROM announcements WHERE id = 'accounts';
DROP TABLE accounts;
