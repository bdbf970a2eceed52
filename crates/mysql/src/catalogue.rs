//! What a server says of itself and of its tables.
