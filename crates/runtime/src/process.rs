//! Memory, CPU and descriptors of this process, from `/proc`.

use crate::events::ProcessSample;

/// Kernel ticks per second in `/proc/self/stat`. `USER_HZ` is 100 on every architecture that Lutra is built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads a sample; what cannot be read (another operating system) stays 0.
pub(crate) fn sample() -> ProcessSample {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let status = read("/proc/self/status");
    let fds = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    ProcessSample {
        resident_bytes: status_field(&status, "VmRSS:").saturating_mul(1024),
        cpu_seconds: cpu_seconds(&read("/proc/self/stat")).unwrap_or(0.0),
        open_fds: u64::try_from(fds).unwrap_or(0),
        threads: status_field(&status, "Threads:"),
    }
}

fn status_field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Fields 14 and 15, counted behind the command name, which may hold spaces and brackets.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_an_odd_command_name() {
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 4 0 9";
        assert_eq!(cpu_seconds(stat), Some(3.0));
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let sample = sample();
        assert!(sample.resident_bytes > 0 && sample.open_fds > 0 && sample.threads > 0);
    }
}
