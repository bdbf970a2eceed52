//! Keeps one assigned task: takes it, runs it, reports it, gives it back.
