DROP TABLE cushions;
