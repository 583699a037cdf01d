//! What memory the system can still give, so that a size from a file is refused before it brings the process down.
//!
//! Linux hands out more than it has and ends whoever touches it; asking first is the only way to answer with an error.
//! Refuses to know who needs the memory.

use std::fs::read_to_string;
use std::path::Path;

/// Bytes that this process can still take: of the machine or of its control group, whichever is less. `u64::MAX` where
/// the system does not say.
pub fn available() -> u64 {
    let group = Path::new("/sys/fs/cgroup");
    let read = |name: &str| read_to_string(group.join(name)).unwrap_or_default();
    let machine = read_to_string("/proc/meminfo").ok().and_then(|text| of_machine(&text));
    let group = of_group(&read("memory.max"), &read("memory.current"), &read("memory.stat"));
    machine.unwrap_or(u64::MAX).min(group.unwrap_or(u64::MAX))
}

/// `MemAvailable` of `/proc/meminfo`, which is in KiB.
fn of_machine(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// What a control group leaves; pages of files count as free, because the system takes them back.
fn of_group(max: &str, current: &str, stat: &str) -> Option<u64> {
    let max: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    let files = stat.lines().find_map(|line| line.strip_prefix("file ")?.trim().parse().ok()).unwrap_or(0);
    Some(max.saturating_sub(current.saturating_sub(files)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_says() {
        let meminfo = "MemTotal:  24576 kB\nMemFree:  10 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(of_machine(meminfo), Some(2 << 20));
        assert_eq!(of_machine("MemTotal: 1 kB"), None);
        assert_eq!(of_group("1000\n", "700\n", "anon 5\nfile 200\n"), Some(500));
        assert_eq!(of_group("1000\n", "1200\n", ""), Some(0));
        assert_eq!(of_group("max\n", "700\n", "file 200\n"), None);
        assert!(available() > 1 << 20);
    }
}
