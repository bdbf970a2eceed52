//! The only user of rdkafka: the log's real transport, topics, admin.
