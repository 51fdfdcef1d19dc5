//! The control groups that this process is in, and what they say of memory.
//!
//! Both versions, alone or side by side, and as they look from inside a
//! container, where `/proc/self/cgroup` and the mounts may speak of different
//! roots. What can't be understood counts as no limit; nothing here must ever
//! write.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Limits of the first version that mean none are near this: the largest number
/// of whole pages.
const UNLIMITED: u64 = i64::MAX as u64 / 2;

/// A hierarchy of control groups that counts memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cgroup {
    /// The group of this process.
    group: PathBuf,
    /// The top, as far as it can be seen from here.
    top: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Version {
    /// The files that hold limits.
    fn limits(self) -> &'static [&'static str] {
        match self {
            Self::V1 => &["memory.limit_in_bytes"],
            // Above memory.high the group is slowed down until it hardly moves.
            Self::V2 => &["memory.max", "memory.high"],
        }
    }
}

impl Cgroup {
    /// All that this process is in; `root` stands for `/`.
    pub(crate) fn of_this_process(root: &Path) -> Vec<Self> {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let (groups, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
        groups.lines().filter_map(|line| Self::parse(root, line, &mounts)).collect()
    }

    /// A line of `/proc/self/cgroup`: `4:memory:/a/b`, or `0::/a/b`.
    fn parse(root: &Path, line: &str, mounts: &str) -> Option<Self> {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let version = match controllers {
            "" => Version::V2,
            _ if controllers.split(',').any(|name| name == "memory") => Version::V1,
            _ => return None,
        };
        let mount = mounts.lines().filter_map(Mount::parse).find(|mount| mount.is(version))?;
        let top = root.join(mount.point.strip_prefix("/").ok()?);
        // What lies outside of the mount can't be seen: its top is the nearest.
        let below = Path::new(path).strip_prefix(&mount.root).ok().map(Path::to_owned).unwrap_or_default();
        let inside = below.components().all(|part| matches!(part, Component::Normal(_)));
        let group = if inside { top.join(below) } else { top.clone() };
        Some(Self { group, top, version })
    }

    /// The lowest limit of the group and those that it lies in, and whose it is.
    pub(crate) fn memory_limit(&self) -> Option<(u64, PathBuf)> {
        let groups = self.group.ancestors().take_while(|group| group.starts_with(&self.top));
        let files = groups.flat_map(|group| self.version.limits().iter().map(move |file| (group, file)));
        let limits = files.filter_map(|(group, file)| {
            // "max", and a file that is not there, are no limit.
            let bytes: u64 = fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()?;
            (bytes < UNLIMITED).then(|| (bytes, group.to_owned()))
        });
        limits.min_by_key(|(bytes, _)| *bytes)
    }

    /// The file that tells how much the group waits for memory.
    pub(crate) fn memory_pressure(&self) -> Option<PathBuf> {
        let file = self.group.join("memory.pressure");
        (self.version == Version::V2 && file.exists()).then_some(file)
    }
}

/// The files that tell how long this process and the machine wait for memory.
#[must_use]
pub fn memory_pressure_files() -> Vec<PathBuf> {
    let groups = Cgroup::of_this_process(Path::new("/"));
    let machine = PathBuf::from("/proc/pressure/memory");
    groups.iter().filter_map(Cgroup::memory_pressure).chain(machine.exists().then_some(machine)).collect()
}

/// A line of `/proc/self/mountinfo`.
struct Mount {
    root: PathBuf,
    point: PathBuf,
    kind: String,
    options: String,
}

impl Mount {
    /// `36 35 98:0 /root /point rw,noatime shared:1 - type source options`
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let mut right = right.split(' ');
        Some(Self {
            root: unescaped(left.next()?),
            point: unescaped(left.next()?),
            kind: right.next()?.to_owned(),
            options: right.nth(1)?.to_owned(),
        })
    }

    fn is(&self, version: Version) -> bool {
        match version {
            Version::V1 => self.kind == "cgroup" && self.options.split(',').any(|option| option == "memory"),
            Version::V2 => self.kind == "cgroup2",
        }
    }
}

/// Spaces and the like stand as `\040`.
fn unescaped(text: &str) -> PathBuf {
    let [space, tab, newline] = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n")];
    let text =
        [space, tab, newline].iter().fold(text.to_owned(), |text, (code, what)| text.replace(code, what));
    PathBuf::from(text.replace("\\134", "\\"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of files that looks like `/`.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn limit(files: &[(&str, &str)]) -> Option<(u64, String)> {
        let root = tree(files);
        let groups = Cgroup::of_this_process(root.path());
        let lowest = groups.iter().filter_map(Cgroup::memory_limit).min_by_key(|(bytes, _)| *bytes)?;
        Some((lowest.0, lowest.1.strip_prefix(root.path()).unwrap().display().to_string()))
    }

    const V2: &str = "30 25 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "29 20 0:25 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
        30 20 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    #[test]
    fn the_second_version_counts_ancestors_and_both_limits() {
        let base = [("proc/self/cgroup", "0::/a/b\n"), ("proc/self/mountinfo", V2)];
        let with = |more: &[(&'static str, &'static str)]| limit(&[&base[..], more].concat());
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[("sys/fs/cgroup/a/b/memory.max", "max\n")]), None);
        let a = Some((7000, "sys/fs/cgroup/a".to_owned()));
        assert_eq!(
            with(&[("sys/fs/cgroup/a/b/memory.max", "9000\n"), ("sys/fs/cgroup/a/memory.max", "7000\n")]),
            a
        );
        let high = [("sys/fs/cgroup/a/b/memory.max", "9000\n"), ("sys/fs/cgroup/a/memory.high", "7000\n")];
        assert_eq!(with(&high), a);
    }

    #[test]
    fn the_first_version_has_a_mount_of_its_own() {
        let files = [
            ("proc/self/cgroup", "4:memory:/x\n1:cpu:/y\n0::/\n"),
            ("proc/self/mountinfo", V1),
            ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "5000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(limit(&files), Some((5000, "sys/fs/cgroup/memory/x".to_owned())));
    }

    #[test]
    fn containers_see_other_roots() {
        let mount = "30 25 0:26 /docker/1 /sys/fs/c\\040g rw - cgroup2 none rw\n";
        for group in ["0::/docker/1\n", "0::/../other\n", "0::/elsewhere\n"] {
            let files = [
                ("proc/self/cgroup", group),
                ("proc/self/mountinfo", mount),
                ("sys/fs/c g/memory.max", "4096\n"),
            ];
            assert_eq!(limit(&files), Some((4096, "sys/fs/c g".to_owned())), "{group}");
        }
    }

    #[test]
    fn odd_files_are_no_limit() {
        for (groups, mounts) in
            [("", ""), ("0:/a\n::\n", V2), ("0::/a\n", "x - y\n1 2 3\n"), ("4:memory:/\n", V2)]
        {
            assert_eq!(limit(&[("proc/self/cgroup", groups), ("proc/self/mountinfo", mounts)]), None);
        }
        assert_eq!(limit(&[]), None);
    }

    #[test]
    fn pressure_is_told_by_the_second_version() {
        let root = tree(&[
            ("proc/self/cgroup", "0::/a\n"),
            ("proc/self/mountinfo", V2),
            ("sys/fs/cgroup/a/memory.pressure", "some avg10=0.00\n"),
        ]);
        let groups = Cgroup::of_this_process(root.path());
        assert_eq!(groups[0].memory_pressure(), Some(root.path().join("sys/fs/cgroup/a/memory.pressure")));
    }
}
