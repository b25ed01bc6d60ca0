//! Each in a process of its own: what is not survived must not end the others.
#![allow(unsafe_code)]

#[path = "../../../tests/child/mod.rs"]
mod child;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;
use crate::fs::spoiled::SpoiledFs;
use crate::fs::{Fs, Map, OsFs};

const HERE: &str = module_path!();

/// As [`child::passes`], of a process that survives unreadable pages, with a folder for the test.
fn survives(test: &str, body: impl FnOnce(&Path)) {
    child::passes(HERE, test, || {
        survive_unreadable_pages().unwrap();
        body(tempfile::tempdir().unwrap().path());
    });
}

/// A file of pages that are full of their number, from 1 on.
fn file(dir: &Path, pages: usize) -> PathBuf {
    let path = dir.join("f");
    let bytes: Vec<u8> = (0..pages).flat_map(|page| vec![page as u8 + 1; page_size()]).collect();
    std::fs::write(&path, bytes).unwrap();
    path
}

fn cut(path: &Path, pages: usize) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len((pages * page_size()) as u64).unwrap();
}

fn page(map: &[u8], number: usize) -> u8 {
    std::hint::black_box(map)[number * page_size() + 17]
}

fn pages(numbers: Range<usize>) -> Range<usize> {
    numbers.start * page_size()..numbers.end * page_size()
}

#[test]
fn what_is_cut_off_a_mapped_file_reads_as_zeros_and_is_counted_and_told() {
    survives("what_is_cut_off_a_mapped_file_reads_as_zeros_and_is_counted_and_told", |dir| {
        survive_unreadable_pages().unwrap();
        let path = file(dir, 8);
        let (map, other) = (OsFs.map(&path).unwrap(), OsFs.map(&path).unwrap());
        assert_eq!((page(&map, 6), map.losses(), map.lost_ranges()), (7, 0, vec![]));
        cut(&path, 4);
        assert_eq!((page(&map, 3), page(&map, 6), page(&map, 3)), (4, 0, 4));
        assert_eq!((map.losses(), map.last_lost()), (1, pages(6..7).start));
        assert_eq!(page(&map, 6), 0, "it is zeros from now on");
        assert_eq!((map.losses(), map.is_lost(&pages(5..7)), map.is_lost(&pages(0..6))), (1, true, false));
        assert_eq!((other.losses(), unreadable_pages()), (0, 1), "each map for itself");
        map.touch();
        assert_eq!((map.losses(), map.lost_ranges()), (4, vec![pages(4..8)]));
        assert_eq!(map.lost_run(&pages(3..6)), Some(pages(4..8)));
        let kept = map.clone();
        drop(map);
        assert_eq!((kept.losses(), page(&kept, 0), page(&kept, 4)), (4, 1, 0));
        drop((kept, other));
        let again = OsFs.map(&path).unwrap();
        assert_eq!((again.len(), again.losses()), (4 * page_size(), 0));
    });
}

/// The bytes that are put right in memory lie in pages of their own, and a lost one can be written to like any other.
#[test]
fn a_page_that_is_lost_can_be_mended_like_any_other() {
    survives("a_page_that_is_lost_can_be_mended_like_any_other", |dir| {
        let path = file(dir, 3);
        let fs = SpoiledFs::new();
        fs.spoil(&path, pages(1..2)).unwrap();
        let mut image = fs.map_to_mend(&path).unwrap();
        image.touch();
        image[page_size()] ^= 4;
        image[0] ^= 4;
        let map = image.freeze();
        assert_eq!((map[0], map[page_size()], page(&map, 1), page(&map, 2)), (5, 4, 0, 3));
        assert_eq!((map.losses(), map.lost_ranges()), (1, vec![pages(1..2)]));
        assert_eq!(std::fs::read(&path).unwrap()[0], 1);
    });
}

/// Where the fault is none of ours, or nobody asked to survive it, the process ends by the signal, as before.
fn ends_by_the_signal(ended: Option<std::process::Output>) {
    let Some(ended) = ended else { return };
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(ended.status.signal(), Some(libc::SIGBUS), "{said}");
    assert!(said.contains("page one: 1") && !said.contains("page two"), "{said}");
}

fn tell_both(path: &Path, map: &[u8]) {
    cut(path, 1);
    println!("page one: {}", page(map, 0));
    println!("page two: {}", page(map, 1));
}

#[test]
fn a_fault_elsewhere_ends_the_process_as_before() {
    ends_by_the_signal(child::run(HERE, "a_fault_elsewhere_ends_the_process_as_before", || {
        survive_unreadable_pages().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), 2);
        let _ours = OsFs.map(&path).unwrap();
        // SAFETY: the file is cut, which is what this is about: nothing is made of what is cut off.
        let map = unsafe { memmap2::Mmap::map(&std::fs::File::open(&path).unwrap()) }.unwrap();
        tell_both(&path, &map);
    }));
}

#[test]
fn whoever_does_not_ask_to_survive_ends_as_before() {
    ends_by_the_signal(child::run(HERE, "whoever_does_not_ask_to_survive_ends_as_before", || {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), 2);
        tell_both(&path, &OsFs.map(&path).unwrap());
    }));
}

#[test]
fn a_stack_that_overflows_is_told_as_before() {
    let ended = child::run(HERE, "a_stack_that_overflows_is_told_as_before", || {
        fn deeper(n: u64) -> u64 {
            let room = std::hint::black_box([n; 64]);
            if n == u64::MAX { 0 } else { deeper(n + 1) + room[(n % 64) as usize] }
        }
        survive_unreadable_pages().unwrap();
        println!("{}", deeper(0));
    });
    let Some(ended) = ended else { return };
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains("overflowed its stack"), "{said}");
    assert_eq!(ended.status.signal(), Some(libc::SIGABRT), "{said}");
}

/// What others send, and what lies elsewhere, goes to the handler that was there before, with `errno` as it was.
#[test]
fn the_handler_before_has_what_is_none_of_ours() {
    static HEARD: AtomicU32 = AtomicU32::new(0);
    extern "C" fn hear(_: libc::c_int) {
        HEARD.fetch_add(1, Ordering::Relaxed);
    }
    child::passes(HERE, "the_handler_before_has_what_is_none_of_ours", || {
        // SAFETY: the function is one that may be called at any time, and of the type that `signal` asks for.
        unsafe { libc::signal(libc::SIGBUS, hear as *const () as usize) };
        survive_unreadable_pages().unwrap();
        // SAFETY: sends a signal to this thread.
        unsafe { libc::raise(libc::SIGBUS) };
        assert_eq!(HEARD.load(Ordering::Relaxed), 1);
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), 2);
        let map = OsFs.map(&path).unwrap();
        cut(&path, 1);
        // SAFETY: it answers where this thread's `errno` lies, for as long as the thread lives.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: see above; nobody else has it.
        unsafe { *errno = 77 };
        let read = page(&map, 1);
        // SAFETY: as for writing it.
        let after = unsafe { *errno };
        assert_eq!((read, after, HEARD.load(Ordering::Relaxed)), (0, 77, 1));
    });
}

/// Eight threads read all of a file while its pages are lost one after the other, and others map and unmap beside them.
#[test]
fn eight_threads_that_read_at_once_see_no_zeros_that_were_not_counted_before() {
    survives("eight_threads_that_read_at_once_see_no_zeros_that_were_not_counted_before", |dir| {
        let path = file(dir, 200);
        let fs = SpoiledFs::new();
        let map: Map = fs.map(&path).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    while !done.load(Ordering::Acquire) {
                        for number in 0..200 {
                            let (before, read, after) = (map.losses(), page(&map, number), map.losses());
                            let lost = map.is_lost(&pages(number..number + 1));
                            assert!(read == number as u8 + 1 || (read == 0 && lost), "{number}: {read}");
                            // Zeros are either known before, or counted while they were read.
                            assert!(read != 0 || after > 0, "{number}: {before} {after}");
                        }
                    }
                });
            }
            for _ in 0..2 {
                threads.spawn(|| {
                    while !done.load(Ordering::Acquire) {
                        let maps: Vec<Map> = (0..70).map(|_| OsFs.map(&path).unwrap()).collect();
                        assert!(maps.iter().all(|map| page(map, 199) == 200));
                    }
                });
            }
            for number in (0..200).step_by(3) {
                fs.spoil(&path, pages(number..number + 1)).unwrap();
                while !map.is_lost(&pages(number..number + 1)) {
                    std::thread::yield_now();
                }
            }
            done.store(true, Ordering::Release);
        });
        assert_eq!(map.lost_ranges().len(), 67);
        drop((map, fs));
        assert!(table::places() <= 256, "places are given again: {}", table::places());
    });
}

/// Each run costs the process two maps, of which it has 65,530.
#[test]
fn a_map_with_too_many_runs_of_lost_pages_is_given_up_whole() {
    survives("a_map_with_too_many_runs_of_lost_pages_is_given_up_whole", |dir| {
        let path = dir.join("f");
        let count = 2 * RUNS_MAX as usize + 10;
        std::fs::write(&path, vec![1; count * page_size()]).unwrap();
        let fs = SpoiledFs::new();
        let map = fs.map(&path).unwrap();
        for number in (0..count).step_by(2) {
            fs.spoil(&path, pages(number..number + 1)).unwrap();
            if page(&map, 1) == 1 {
                assert_eq!((page(&map, number), map.is_lost(&pages(1..2))), (0, page(&map, 1) == 0));
            }
        }
        assert_eq!(map.lost_ranges(), vec![pages(0..count)]);
        assert!(map.iter().all(|&byte| byte == 0));
        // In a row they are one run.
        let fs = SpoiledFs::new();
        let map = fs.map(&path).unwrap();
        fs.spoil(&path, pages(1..count - 1)).unwrap();
        map.touch();
        assert_eq!((map.lost_ranges(), page(&map, 0)), (vec![pages(1..count - 1)], 1));
    });
}
