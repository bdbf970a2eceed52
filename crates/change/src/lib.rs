//! The vocabulary: ids, positions, GTID sets, values, rows, schemas, transactions.
