//! How much memory a process has.

#![expect(clippy::unwrap_used, reason = "a bench that cannot run says so and ends")]

/// What a process has in memory, in KiB.
pub fn memory_kib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}
