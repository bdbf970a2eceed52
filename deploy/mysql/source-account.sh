# Sourced by the image's entrypoint when the data folder is new: the account that Lutra reads the source with.
# Exactly what `lutra doctor --grants` prints; left out of the binlog.
docker_process_sql --database=mysql <<SQL
SET SESSION sql_log_bin = 0;
CREATE USER 'lutra'@'%' IDENTIFIED BY '${LUTRA_SOURCE_PASSWORD//\'/\'\'}';
GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'lutra'@'%';
SQL
