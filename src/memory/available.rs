//! How much memory there is: what the machine has left, or the control groups that this process is in, whichever is less.

use std::fs;
use std::path::Path;

/// A hierarchy of control groups: where it is mounted, and how its files are called.
struct Hierarchy {
    mounted: &'static str,
    limit: &'static str,
    used: &'static str,
    /// Of `memory.stat`: what is used, but given back where it is needed.
    given_back: &'static str,
}

/// The unified hierarchy, and the older one of memory alone.
const UNIFIED: Hierarchy = Hierarchy {
    mounted: "sys/fs/cgroup",
    limit: "memory.max",
    used: "memory.current",
    given_back: "inactive_file",
};
const OF_MEMORY: Hierarchy = Hierarchy {
    mounted: "sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    given_back: "total_inactive_file",
};

/// Bytes that can be had without driving others out or being ended for it, where the operating system tells. `root` is `/`.
pub fn available(root: &Path) -> Option<f64> {
    let machine = fs::read_to_string(root.join("proc/meminfo"))
        .ok()
        .and_then(|text| entry(&text, "MemAvailable:"))
        .map(|kib| 1024.0 * kib);
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| {
        // number:controllers:path
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let hierarchy = match controllers {
            "" => UNIFIED,
            _ if controllers.split(',').any(|name| name == "memory") => OF_MEMORY,
            _ => return None,
        };
        hierarchy.left(root, path)
    });
    machine.into_iter().chain(limits).reduce(f64::min)
}

impl Hierarchy {
    /// What the group at `path` and those that it is in leave. In a container the path may be one of the host's, of which only the
    /// last, mounted as the root, is seen.
    fn left(&self, root: &Path, path: &str) -> Option<f64> {
        let mounted = root.join(self.mounted);
        let groups = Path::new(path.trim_start_matches('/')).ancestors();
        groups
            .filter_map(|group| self.left_by(&mounted.join(group)))
            .reduce(f64::min)
    }

    /// What one group leaves; nothing is told where it has no limit.
    fn left_by(&self, group: &Path) -> Option<f64> {
        let number = |file: &str| -> Option<f64> {
            let text = fs::read_to_string(group.join(file)).ok()?;
            text.trim().parse().ok()
        };
        let (limit, used) = (number(self.limit)?, number(self.used)?);
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let given_back = entry(&stat, self.given_back).unwrap_or(0.0);
        Some((limit - (used - given_back).max(0.0)).max(0.0))
    }
}

/// The number behind a name in a text of a name and a number on each line.
fn entry(text: &str, name: &str) -> Option<f64> {
    let words = text.lines().map(|line| line.split_whitespace());
    let mut found =
        words.filter_map(|mut words| (words.next()? == name).then(|| words.next()?.parse().ok())?);
    found.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with 8 GiB left, in whose `/` there are these files.
    fn left(files: &[(&str, &str)]) -> Option<f64> {
        let root = tempfile::tempdir().unwrap();
        let meminfo = (
            "proc/meminfo",
            "MemTotal: 16777216 kB\nMemAvailable:    8388608 kB\n",
        );
        for (path, text) in files.iter().chain([&meminfo]) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        available(root.path())
    }

    const GIB: f64 = (1 << 30) as f64;

    #[test]
    fn without_limits_it_is_what_the_machine_has_left() {
        assert_eq!(left(&[]), Some(8.0 * GIB));
        let unlimited = [
            ("proc/self/cgroup", "0::/jobs/mine\n"),
            ("sys/fs/cgroup/jobs/mine/memory.max", "max\n"),
            ("sys/fs/cgroup/jobs/mine/memory.current", "1073741824\n"),
        ];
        assert_eq!(left(&unlimited), Some(8.0 * GIB));
        assert_eq!(available(Path::new("/nowhere")), None);
    }

    #[test]
    fn the_narrowest_group_counts_and_what_it_would_give_back_does_not() {
        let nested = [
            ("proc/self/cgroup", "0::/jobs/mine\n"),
            ("sys/fs/cgroup/jobs/mine/memory.max", "max\n"),
            ("sys/fs/cgroup/jobs/memory.max", "4294967296\n"),
            ("sys/fs/cgroup/jobs/memory.current", "3221225472\n"),
            (
                "sys/fs/cgroup/jobs/memory.stat",
                "anon 5\ninactive_file 1073741824\n",
            ),
        ];
        assert_eq!(left(&nested), Some(2.0 * GIB));
    }

    #[test]
    fn a_container_sees_its_group_as_the_root() {
        let unified = [
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "2147483648\n"),
            ("sys/fs/cgroup/memory.current", "1073741824\n"),
        ];
        assert_eq!(left(&unified), Some(GIB));
        let of_memory = [
            (
                "proc/self/cgroup",
                "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n0::/\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "3221225472\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "2147483648\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "total_inactive_file 1073741824\n",
            ),
        ];
        assert_eq!(left(&of_memory), Some(2.0 * GIB));
    }
}
