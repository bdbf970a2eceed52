//! The only user of zookeeper-client: tree, registration, election, task ownership.
