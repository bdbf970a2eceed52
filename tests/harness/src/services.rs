//! Lutra's own service processes.
