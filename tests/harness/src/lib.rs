//! Gets and runs real MySQL, Kafka, ZooKeeper; the oracle that compares databases.
