//! The only user of mysql_async: connections, dump stream, checks, catalogue, SQL text.
