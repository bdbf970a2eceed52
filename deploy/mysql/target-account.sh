# Sourced by the image's entrypoint when the data folder is new: the account that Lutra writes the target with.
# Exactly what `lutra doctor --grants` prints; left out of the binlog.
docker_process_sql --database=mysql <<SQL
SET SESSION sql_log_bin = 0;
CREATE USER 'lutra'@'%' IDENTIFIED BY '${LUTRA_TARGET_PASSWORD//\'/\'\'}';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EVENT, TRIGGER ON *.* TO 'lutra'@'%';
GRANT REPLICATION_APPLIER, SESSION_VARIABLES_ADMIN ON *.* TO 'lutra'@'%';
SQL
