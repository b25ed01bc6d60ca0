//! P10, LK7: somebody opens the store while its owner, who does not know yet that he lost it, writes the manifest anew.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::fs::{Fs, FsFile, Map};
use tidegauge_storage::manifest::{Edit, Manifest, Metadata, Ownership};

const DIR: &str = "d";

type Hook = Box<dyn FnMut() + Send>;

/// A disk on which something else happens before one of its operations.
struct Interrupted {
    fs: SimFs,
    left: AtomicU32,
    hook: Mutex<Hook>,
}

impl std::fmt::Debug for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interrupted")
    }
}

impl Interrupted {
    fn count(&self) {
        if self.left.load(Ordering::Relaxed) > 0 && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            (self.hook.lock().unwrap())();
        }
    }
}

impl Fs for Interrupted {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.count();
        self.fs.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.count();
        self.fs.list(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.count();
        self.fs.sync_dir(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        self.count();
        self.fs.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        self.count();
        self.fs.open(path)
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn FsFile>> {
        self.count();
        self.fs.open_read(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.count();
        self.fs.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.count();
        self.fs.remove(path)
    }
    fn map(&self, path: &Path) -> io::Result<Map> {
        self.fs.map(path)
    }
}

/// The lock file has its name until the next owner comes, who waits while the owner is alone.
struct Lock {
    lost: Arc<AtomicBool>,
    alone: Arc<AtomicBool>,
}

struct Alone(Arc<AtomicBool>);

impl Drop for Alone {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Ownership for Lock {
    fn is_ours(&self) -> bool {
        !self.lost.load(Ordering::Relaxed)
    }
    fn alone(&self) -> io::Result<Box<dyn Send>> {
        self.alone.store(true, Ordering::Relaxed);
        Ok(Box::new(Alone(Arc::clone(&self.alone))))
    }
}

fn described(name: u64) -> Edit {
    let help = "x".repeat(60_000);
    Edit::Metadata { metric: format!("m{name}"), metadata: Metadata { help, ..Metadata::default() } }
}

fn knows(manifest: &Manifest, name: u64) -> bool {
    manifest.state().metadata().get(&format!("m{name}")).is_some()
}

#[test]
fn p10_a_manifest_that_is_written_anew_never_replaces_that_of_the_next_owner() {
    let (mut rewrites, mut refused) = (0, 0);
    for at in 1..24 {
        let sim = SimFs::new();
        let next = Arc::new(Mutex::new(None));
        let (lost, alone) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let disk = Arc::new(Interrupted {
            fs: sim.clone(),
            left: AtomicU32::new(0),
            hook: Mutex::new(Box::new({
                let (sim, next, lost, alone) = (sim.clone(), Arc::clone(&next), Arc::clone(&lost), Arc::clone(&alone));
                move || {
                    // He would wait for it, and come behind it.
                    if !alone.load(Ordering::Relaxed) {
                        lost.store(true, Ordering::Relaxed);
                        let mut manifest = Manifest::open_or_create(Arc::new(sim.clone()), DIR).unwrap();
                        manifest.commit(&[described(1000)]).unwrap();
                        *next.lock().unwrap() = Some(manifest);
                    }
                }
            })),
        });
        let mut owner = Manifest::open_or_create(Arc::clone(&disk) as Arc<dyn Fs>, DIR).unwrap();
        owner.owned_while(Lock { lost, alone });
        let manifest = || sim.open_read(&Path::new(DIR).join("MANIFEST")).unwrap().len().unwrap();
        let mut acknowledged = 0;
        let mut before = manifest();
        // Up to the commit that writes the file anew, which it shrinks.
        for n in 0..12 {
            disk.left.store(if n == 4 { at } else { 0 }, Ordering::Relaxed);
            if owner.commit(&[described(n % 2)]).is_err() {
                refused += 1;
                break;
            }
            acknowledged = n + 1;
            rewrites += u32::from(manifest() < before);
            before = manifest();
        }
        let Some(mut next) = next.lock().unwrap().take() else { continue };
        assert!(acknowledged < 12, "before operation {at}: he has lost the store, and learns of it");
        next.commit(&[described(1001)]).unwrap();
        let found = Manifest::open_read_only(Arc::new(sim.clone()), DIR).unwrap();
        assert_eq!(found.state(), next.state(), "before operation {at}");
        assert!(knows(&found, 1000) && knows(&found, 1001) && knows(&found, 0), "before operation {at}");
        let left = sim.list(Path::new(DIR)).unwrap();
        let again = Manifest::open_or_create(Arc::new(sim.clone()), DIR).unwrap();
        assert!(knows(&again, 1001), "before operation {at}");
        assert_eq!(sim.list(Path::new(DIR)).unwrap(), ["MANIFEST"], "nothing is left of {left:?}");
    }
    assert!(refused >= 3 && rewrites > 3, "{refused} refused, {rewrites} written anew");
}
