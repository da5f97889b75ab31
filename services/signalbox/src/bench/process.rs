//! Processor time and memory of process trees, from `/proc` (Linux).

use std::{collections::HashMap, fs, io, path::Path, time::Duration};

use serde::Serialize;

/// How the kernel counts processor time for programs: `USER_HZ`, 100 per second on every platform that Rust supports.
const TICK: Duration = Duration::from_millis(10);
/// Where systems without `/proc` are told about.
pub(super) const UNAVAILABLE: &str =
    "processor time and memory are read from /proc, which this system does not have";

/// A process and all that descend from it.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) name: String,
    pub(super) pid: u32,
}

/// What a tree has used so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) name: String,
    /// Also of descendants that have ended and were waited for.
    pub(super) cpu: Duration,
    pub(super) memory: Memory,
}

/// Memory of a tree; pages shared by several processes count in each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    /// Resident now, in bytes.
    pub(super) resident_bytes: u64,
    /// The most that was resident since each process began, in bytes; summed, although not at one moment.
    pub(super) peak_bytes: u64,
}

impl Memory {
    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            resident_bytes: self.resident_bytes + other.resident_bytes,
            peak_bytes: self.peak_bytes + other.peak_bytes,
        }
    }
}

/// Whether this system says what processes use.
pub(super) fn available() -> bool {
    Path::new("/proc/self/stat").exists()
}

/// Reads what the trees have used so far.
///
/// # Errors
/// A root that has ended: its figures are gone.
pub(super) fn used(trees: &[Tree]) -> Result<Vec<Used>, String> {
    let all = all().map_err(|error| format!("/proc cannot be read: {error}"))?;
    let used = trees.iter().map(|tree| {
        let gone = || format!("{}: there is no process {} any more", tree.name, tree.pid);
        let root = all.get(&tree.pid).ok_or_else(gone)?;
        let members: Vec<u32> = std::iter::once(tree.pid).chain(descendants(tree.pid, &all)).collect();
        let below: Duration = members[1..].iter().filter_map(|pid| all.get(pid)).map(|stat| stat.cpu).sum();
        let memory = members.iter().filter_map(|pid| memory(*pid)).fold(Memory::default(), Memory::and);
        Ok(Used { name: tree.name.clone(), cpu: root.cpu + below, memory })
    });
    used.collect()
}

/// Processor time of all trees.
pub(super) fn cpu(used: &[Used]) -> Duration {
    used.iter().map(|used| used.cpu).sum()
}

/// Memory of all trees.
pub(super) fn memory_of_all(used: &[Used]) -> Memory {
    used.iter().map(|used| used.memory).fold(Memory::default(), Memory::and)
}

/// What `/proc/<pid>/stat` says, as far as it counts here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    cpu: Duration,
}

/// All processes. One that ends while they are read is left out.
fn all() -> io::Result<HashMap<u32, Stat>> {
    let mut all = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        if let Some(stat) = stat.as_deref().and_then(stat_of) {
            all.insert(pid, stat);
        }
    }
    Ok(all)
}

/// Reads the fields of proc_pid_stat(5): parent (4), utime, stime, cutime and cstime (14 to 17). The name (2) is in
/// parentheses and may hold anything, so the fields are counted from its end.
fn stat_of(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u64>().ok()).sum::<Option<u64>>()?;
    let cpu = TICK.checked_mul(u32::try_from(ticks).ok()?)?;
    Some(Stat { parent: fields.get(1)?.parse().ok()?, cpu })
}

fn descendants(root: u32, all: &HashMap<u32, Stat>) -> Vec<u32> {
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        let children = all.iter().filter(|(pid, stat)| stat.parent == parent && **pid != root);
        let children: Vec<u32> = children.map(|(pid, _)| *pid).collect();
        found.extend(&children);
        parents.extend(children);
    }
    found
}

fn memory(pid: u32) -> Option<Memory> {
    memory_of(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// Reads `VmRSS` and `VmHWM` of proc_pid_status(5). A process that has just ended has neither.
fn memory_of(text: &str) -> Option<Memory> {
    let bytes = |key: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        value.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some(Memory { resident_bytes: bytes("VmRSS")?, peak_bytes: bytes("VmHWM")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_the_end_of_the_name() {
        let text = "42 (a ) (b) 1 2 3) S 7 42 42 0 -1 4194304 1 0 0 0 150 50 20 5 20 0 9 0 100 1 2\n";
        assert_eq!(stat_of(text), Some(Stat { parent: 7, cpu: Duration::from_millis(2_250) }));
        for broken in ["", "42 (name", "42 (name) S 7", "42 (name) S 7 0 0 0 0 0 0 0 0 0 x 0 0 0"] {
            assert_eq!(stat_of(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_tree_is_all_that_descend_from_its_root() {
        let stat = |parent| Stat { parent, cpu: Duration::ZERO };
        let all =
            [(1, stat(0)), (2, stat(1)), (3, stat(2)), (4, stat(1)), (5, stat(9))].into_iter().collect();
        let mut found = descendants(1, &all);
        found.sort_unstable();
        assert_eq!(found, [2, 3, 4]);
        assert!(descendants(3, &all).is_empty());
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let text = "Name:\tx\nVmPeak:\t  900 kB\nVmHWM:\t   20 kB\nVmRSS:\t   10 kB\nThreads:\t1\n";
        let memory = Memory { resident_bytes: 10 << 10, peak_bytes: 20 << 10 };
        assert_eq!(memory_of(text), Some(memory));
        assert_eq!(memory_of("Name:\tended\nThreads:\t1\n"), None);
        assert_eq!(memory.and(memory).resident_bytes, 20 << 10);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_something_and_one_that_is_not_is_named() {
        assert!(available());
        let own = Tree { name: "test".to_owned(), pid: std::process::id() };
        let used = used(std::slice::from_ref(&own)).unwrap();
        assert!(
            used[0].memory.resident_bytes > 0 && used[0].memory.peak_bytes >= used[0].memory.resident_bytes
        );
        // Above the largest number that Linux gives to a process.
        let gone = Tree { pid: 1 << 30, ..own };
        assert!(super::used(&[gone]).unwrap_err().contains("no process 1073741824"));
    }
}
