//! Space in mounted file systems, from `/proc/self/mounts` and statvfs(3).

use std::borrow::Cow;
use std::collections::HashSet;

use super::readings::{GAUGE, Readings};
use super::source::Malformed;

/// File systems without storage of their own.
const PSEUDO: [&str; 30] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "erofs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
    "efivarfs",
    "ramfs",
    "rootfs",
    "binder",
    "fuse.lxcfs",
];

/// Where the server of a file system hangs, statvfs hangs, and with it everything that is
/// collected here: those with a server elsewhere are left out.
const REMOTE: [&str; 12] = [
    "9p",
    "afs",
    "ceph",
    "cifs",
    "fuse.glusterfs",
    "fuse.sshfs",
    "glusterfs",
    "lustre",
    "nfs",
    "nfs4",
    "smb3",
    "smbfs",
];

/// Mount points below these belong to the system or to containers.
const SYSTEM_POINTS: [&str; 3] = ["/dev", "/proc", "/sys"];
const CONTAINER_POINTS: [&str; 3] = ["/run/credentials/", "/var/lib/docker/", "/var/lib/containers/storage/"];

/// A mounted file system whose space is worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount<'a> {
    device: Cow<'a, str>,
    point: Cow<'a, str>,
    kind: &'a str,
    read_only: bool,
}

/// Space as statvfs gives it, in bytes and inodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Space {
    size: f64,
    free: f64,
    available: f64,
    files: f64,
    files_free: f64,
    read_only: bool,
}

/// The mounts that are kept, each mount point once.
pub(super) fn mounts(text: &str) -> Result<Vec<Mount<'_>>, Malformed> {
    let mut seen = HashSet::new();
    let mut mounts = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(device), Some(point), Some(kind), Some(options)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Malformed("a mount with too few columns"));
        };
        let point = unescape(point);
        if PSEUDO.contains(&kind) || REMOTE.contains(&kind) || is_system(&point) || !seen.insert(point.clone()) {
            continue;
        }
        let read_only = options.split(',').any(|option| option == "ro");
        mounts.push(Mount { device: unescape(device), point, kind, read_only });
    }
    Ok(mounts)
}

/// `node_filesystem_*` of each mount; `space` is statvfs.
pub(super) fn filesystem(
    text: &str,
    mut space: impl FnMut(&str) -> Option<Space>,
    out: &mut Readings,
) -> Result<(), Malformed> {
    for mount in mounts(text)? {
        let labels = [("device", &*mount.device), ("fstype", mount.kind), ("mountpoint", &*mount.point)];
        let mut put = |metric, help, value| out.put(metric, GAUGE, help, &labels, value);
        let found = space(&mount.point);
        let error = if found.is_some() { 0.0 } else { 1.0 };
        let help = "Whether an error occurred while getting statistics for the given device.";
        put("node_filesystem_device_error", help, error);
        let read_only = mount.read_only || found.is_some_and(|space| space.read_only);
        put("node_filesystem_readonly", "Filesystem read-only status.", f64::from(u8::from(read_only)));
        let Some(space) = found else { continue };
        put("node_filesystem_size_bytes", "Filesystem size in bytes.", space.size);
        put("node_filesystem_free_bytes", "Filesystem free space in bytes.", space.free);
        let help = "Filesystem space available to non-root users in bytes.";
        put("node_filesystem_avail_bytes", help, space.available);
        put("node_filesystem_files", "Filesystem total file nodes.", space.files);
        put("node_filesystem_files_free", "Filesystem total free file nodes.", space.files_free);
    }
    Ok(())
}

/// Asks the kernel. May block where the device does.
pub(super) fn statvfs(point: &str) -> Option<Space> {
    let found = rustix::fs::statvfs(point).ok()?;
    let bytes = |blocks: u64| blocks as f64 * found.f_frsize as f64;
    Some(Space {
        size: bytes(found.f_blocks),
        free: bytes(found.f_bfree),
        available: bytes(found.f_bavail),
        files: found.f_files as f64,
        files_free: found.f_ffree as f64,
        read_only: found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
    })
}

fn is_system(point: &str) -> bool {
    let below = |root: &str| point.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    SYSTEM_POINTS.iter().any(|root| below(root))
        || CONTAINER_POINTS.iter().any(|root| point.len() > root.len() && point.starts_with(root))
}

/// The kernel writes blanks, line feeds and backslashes as three octal digits.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        match bytes {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                bytes = rest;
            }
            _ => {
                out.push(*first);
                bytes = rest;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "proc /proc proc rw,relatime 0 0\n\
        devtmpfs /dev devtmpfs rw,size=12334460k 0 0\n\
        tmpfs /dev/shm tmpfs rw 0 0\n\
        /dev/vda / ext4 rw,discard 0 0\n\
        /dev/vdb /mnt/my\\040disk xfs ro,noatime 0 0\n\
        /dev/vda / ext4 rw 0 0\n\
        server:/home /home nfs4 rw 0 0\n\
        overlay /var/lib/docker/overlay2/x/merged overlay rw 0 0\n\
        tmpfs /sysroot tmpfs rw 0 0\n";

    #[test]
    fn storage_is_kept_and_pseudo_or_remote_file_systems_are_not() {
        let kept: Vec<_> = mounts(MOUNTS).unwrap().into_iter().map(|m| (m.point.into_owned(), m.read_only)).collect();
        assert_eq!(kept, [("/".into(), false), ("/mnt/my disk".into(), true), ("/sysroot".into(), false)]);
        assert!(mounts("/dev/vda /\n").is_err());
    }

    #[test]
    fn a_failing_device_is_reported_and_the_others_go_on() {
        let space =
            Space { size: 4096.0, free: 2048.0, available: 1024.0, files: 8.0, files_free: 7.0, read_only: false };
        let mut out = Readings::default();
        filesystem(MOUNTS, |point| (point != "/").then_some(space), &mut out).unwrap();
        let root = r#"{device="/dev/vda",fstype="ext4",mountpoint="/"}"#;
        assert_eq!(out.value(&format!("node_filesystem_device_error{root}")), Some(1.0));
        assert_eq!(out.value(&format!("node_filesystem_size_bytes{root}")), None);
        let disk = r#"{device="/dev/vdb",fstype="xfs",mountpoint="/mnt/my disk"}"#;
        assert_eq!(out.value(&format!("node_filesystem_avail_bytes{disk}")), Some(1024.0));
        assert_eq!(out.value(&format!("node_filesystem_readonly{disk}")), Some(1.0));
        assert_eq!(out.value(&format!("node_filesystem_files_free{disk}")), Some(7.0));
    }

    #[test]
    fn the_root_of_this_machine_has_a_size() {
        let space = statvfs("/").expect("statvfs of /");
        assert!(space.size >= space.free && space.free >= space.available);
    }
}
