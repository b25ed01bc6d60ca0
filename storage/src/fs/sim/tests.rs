use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::fs::is_out_of_files;

fn disk() -> (SimFs, Arc<dyn FsFile>) {
    let fs = SimFs::new();
    fs.create_dir_all(Path::new("d")).unwrap();
    fs.sync_dir(Path::new("")).unwrap();
    let file = fs.create(Path::new("d/f")).unwrap();
    (fs, file)
}

fn content(fs: &SimFs, path: &str) -> Option<Vec<u8>> {
    fs.map(Path::new(path)).ok().map(|map| map.to_vec())
}

#[test]
fn what_was_synced_survives_every_crash_and_a_name_needs_its_folder_synced() {
    let (fs, file) = disk();
    file.write_all_at(0, &[1; 10_000]).unwrap();
    file.sync_data().unwrap();
    let names: BTreeSet<bool> = (0..100).map(|seed| content(&fs.crash(seed), "d/f").is_some()).collect();
    assert_eq!(names.len(), 2, "an unsynced name survives sometimes");
    fs.sync_dir(Path::new("d")).unwrap();
    for seed in 0..100 {
        assert_eq!(content(&fs.crash(seed), "d/f").unwrap(), [1; 10_000]);
    }
}

/// The fault was answered before anything was done: names stayed pending, and the next sync made them durable.
#[test]
fn a_folder_sync_that_fails_loses_the_names_and_a_later_one_does_not_bring_them_back() {
    for fault in [Fault::Io, Fault::Full] {
        let (fs, _) = disk();
        fs.sync_dir(Path::new("d")).unwrap();
        fs.create(Path::new("d/made")).unwrap();
        fs.rename(Path::new("d/f"), Path::new("d/g")).unwrap();
        fs.record();
        fs.fail_at(fs.operations() + 1, fault);
        fs.sync_dir(Path::new("d")).unwrap_err();
        fs.sync_dir(Path::new("d")).unwrap();
        let names = |fs: &SimFs| fs.list(Path::new("d")).unwrap();
        assert_eq!(names(&fs), ["g", "made"], "the running process still reads them");
        let mut timeline = fs.timeline();
        assert_eq!(timeline.name_steps().count(), 1, "of two syncs one succeeded");
        while !timeline.is_over() {
            timeline.advance();
        }
        for seed in 0..20 {
            assert_eq!(names(&fs.crash(seed)), ["f"], "{fault:?}");
            assert_eq!(names(&timeline.power_loss(&mut Random::new(seed))), ["f"], "{fault:?}");
        }
        // A name that is made anew is another one.
        fs.rename(Path::new("d/g"), Path::new("d/h")).unwrap();
        fs.sync_dir(Path::new("d")).unwrap();
        assert_eq!(names(&fs.crash(0)), ["f", "h"], "one file with two names");
        // Where no file may be opened no sync has begun: the next one is as good as the first.
        fs.create(Path::new("d/late")).unwrap();
        fs.fail_at(fs.operations() + 1, Fault::Files);
        assert!(is_out_of_files(&fs.sync_dir(Path::new("d")).unwrap_err()));
        fs.restart();
        fs.sync_dir(Path::new("d")).unwrap();
        assert_eq!(names(&fs.crash(0)), ["f", "h", "late"]);
    }
}

#[test]
fn unsynced_sectors_survive_in_any_combination_with_any_of_their_states() {
    let (fs, file) = disk();
    file.write_all_at(0, &[1; 2048]).unwrap();
    file.sync_data().unwrap();
    fs.sync_dir(Path::new("d")).unwrap();
    file.write_all_at(0, &[2; 2048]).unwrap();
    file.write_all_at(512, &[3; 1536]).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..5000 {
        let left = content(&fs.crash(seed), "d/f").unwrap();
        assert_eq!(left.len(), 2048);
        assert!(left.chunks(512).all(|sector| sector.iter().all(|b| *b == sector[0])));
        seen.insert([left[0], left[512], left[1024], left[1536]]);
        assert_eq!(content(&fs.crash(seed), "d/f").unwrap(), left, "the seed decides alone");
    }
    assert_eq!(seen.len(), 2 * 3 * 3 * 3);
    assert_eq!(content(&fs, "d/f").unwrap()[512..], [3; 1536]);
}

#[test]
fn a_rename_is_old_or_new_never_both_and_growth_may_be_lost() {
    let (fs, file) = disk();
    fs.sync_dir(Path::new("d")).unwrap();
    fs.rename(Path::new("d/f"), Path::new("d/g")).unwrap();
    file.allocate(100).unwrap();
    let mut lens = BTreeSet::new();
    for seed in 0..200 {
        let after = fs.crash(seed);
        let names = after.list(Path::new("d")).unwrap();
        assert_eq!(names.len(), 1);
        lens.insert((names[0].clone(), content(&after, &format!("d/{}", names[0])).unwrap().len()));
    }
    assert_eq!(lens.len(), 4);
}

#[test]
fn a_write_within_a_page_tears_by_sector_and_never_where_every_page_is_tried() {
    let (fs, file) = disk();
    file.write_all_at(0, &[1; 4096]).unwrap();
    file.sync_data().unwrap();
    fs.sync_dir(Path::new("d")).unwrap();
    file.write_all_at(0, &[2; 4096]).unwrap();
    let torn = |choose: &mut dyn Choose| {
        let left = SimFs::of(fs.lock().disk.after_power_loss(choose));
        let bytes = content(&left, "d/f").unwrap();
        assert!(bytes.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        bytes.iter().any(|byte| *byte != bytes[0])
    };
    let times = |by: fn(u64) -> Random| (0..600).filter(|seed| torn(&mut by(*seed))).count();
    let (by_sector, any) = (times(Random::by_sector), times(Random::new));
    assert!(by_sector > any * 3 / 2 && any > 50, "{by_sector} and {any} of 600 are torn");
    let mut every = Every::default();
    loop {
        assert!(!torn(&mut every));
        if !every.more() {
            break;
        }
    }
}

/// It is never in neither folder; the old name may be there until its own folder is synced, too.
#[test]
fn a_rename_into_another_folder_needs_both_folders_synced_and_loses_nothing() {
    let (fs, _) = disk();
    fs.create_dir_all(Path::new("e")).unwrap();
    fs.sync_dir(Path::new("")).unwrap();
    fs.sync_dir(Path::new("d")).unwrap();
    fs.rename(Path::new("d/f"), Path::new("e/g")).unwrap();
    let seen = |fs: &SimFs| -> BTreeSet<(bool, bool)> {
        let found = |seed| {
            let left = fs.crash(seed);
            (content(&left, "d/f").is_some(), content(&left, "e/g").is_some())
        };
        (0..200).map(found).collect()
    };
    let (old, both, new) = ((true, false), (true, true), (false, true));
    assert_eq!(seen(&fs), [old, both, new].into());
    let other_way = fs.kill();
    other_way.sync_dir(Path::new("d")).unwrap();
    assert_eq!(seen(&other_way), [old, both, new].into());
    fs.sync_dir(Path::new("e")).unwrap();
    assert_eq!(seen(&fs), [both, new].into());
    fs.sync_dir(Path::new("d")).unwrap();
    assert_eq!(seen(&fs), [new].into());
    assert_eq!((content(&fs, "d/f"), content(&fs, "e/g").is_some()), (None, true), "a running process sees it at once");
}

/// A folder takes along what is in it; otherwise it is as with a file.
#[test]
fn a_folder_that_is_renamed_is_never_in_neither_place_and_replaces_an_empty_one_only() {
    let (fs, file) = disk();
    let (d, new) = (Path::new("d"), Path::new("e/new"));
    fs.create_dir_all(new).unwrap();
    assert_eq!(fs.rename(d, new).unwrap_err().kind(), io::ErrorKind::Unsupported, "its names are not durable yet");
    file.write_all_at(0, b"x").unwrap();
    file.sync_data().unwrap();
    for dir in ["d", "e", ""] {
        fs.sync_dir(Path::new(dir)).unwrap();
    }
    let full = fs.kill();
    full.create(&new.join("other")).unwrap();
    assert_eq!(full.rename(d, new).unwrap_err().kind(), io::ErrorKind::DirectoryNotEmpty);
    assert!(full.rename(d, Path::new("d/inside")).is_err() && full.rename(d, Path::new("d/f")).is_err());
    assert_eq!(full.rename(Path::new("d/f"), new).unwrap_err().kind(), io::ErrorKind::IsADirectory);

    fs.rename(d, new).unwrap();
    let seen = |fs: &SimFs| -> BTreeSet<(bool, bool)> {
        let found = |seed| {
            let left = fs.crash(seed);
            let holds = |path| content(&left, path).is_some_and(|bytes| bytes == b"x");
            (holds("d/f"), holds("e/new/f"))
        };
        (0..200).map(found).collect()
    };
    let (old, both, new) = ((true, false), (true, true), (false, true));
    assert_eq!(seen(&fs), [old, both, new].into());
    fs.sync_dir(Path::new("e")).unwrap();
    assert_eq!(seen(&fs), [both, new].into());
    fs.sync_dir(Path::new("")).unwrap();
    assert_eq!(seen(&fs), [new].into());
    assert_eq!((content(&fs, "d/f"), content(&fs, "e/new/f")), (None, Some(b"x".to_vec())));
}

#[test]
fn faults_hit_their_operation_and_a_failed_sync_loses_its_writes() {
    let (fs, file) = disk();
    file.sync_data().unwrap();
    fs.sync_dir(Path::new("d")).unwrap();
    let next = fs.operations() + 1;
    fs.fail_at(next, Fault::Io);
    fs.fail_at(next + 2, Fault::Full);
    assert!(file.write_all_at(0, &[1; 8]).is_err());
    file.write_all_at(0, &[2; 8]).unwrap();
    assert_eq!(file.allocate(100).unwrap_err().kind(), io::ErrorKind::StorageFull);
    fs.fail_at(fs.operations() + 1, Fault::Io);
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
    file.sync_data().unwrap();
    assert_eq!(content(&fs, "d/f").unwrap(), [2; 8]);
    assert_eq!(content(&fs.crash(1), "d/f").unwrap(), b"");
}

#[test]
fn a_file_that_is_full_in_place_takes_half_of_a_write_over_what_it_holds() {
    let (fs, file) = disk();
    file.write_all_at(0, &[1; 8]).unwrap();
    fs.set_full_in_place(Some(Path::new("d/f")));
    assert_eq!(file.write_all_at(0, &[2; 8]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.sync_data().unwrap();
    let other = fs.create(Path::new("d/g")).unwrap();
    other.write_all_at(0, &[3; 8]).unwrap();
    assert_eq!(content(&fs, "d/f").unwrap(), [2, 2, 2, 2, 1, 1, 1, 1]);
    fs.set_full_in_place(None);
    file.write_all_at(0, &[2; 8]).unwrap();
    assert_eq!(content(&fs, "d/f").unwrap(), [2; 8]);
}

#[test]
fn a_stopped_machine_answers_nothing_until_restarted() {
    let (fs, file) = disk();
    fs.stop_at(fs.operations() + 2);
    file.write_all_at(0, b"a").unwrap();
    assert!(file.write_all_at(1, b"b").is_err());
    assert!(file.len().is_err() && fs.list(Path::new("d")).is_err());
    fs.restart();
    assert_eq!(content(&fs, "d/f").unwrap(), b"a");
}

#[test]
fn a_full_disk_refuses_growth_only_and_removing_gives_space_back() {
    let (fs, file) = disk();
    fs.set_capacity(Some(100));
    file.allocate(80).unwrap();
    file.write_all_at(70, &[1; 10]).unwrap();
    let other = fs.create(Path::new("d/g")).unwrap();
    assert_eq!(other.write_all_at(0, &[1; 30]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(other.len().unwrap(), 0);
    fs.remove(Path::new("d/f")).unwrap();
    other.write_all_at(0, &[1; 30]).unwrap();
}

#[test]
fn paths_are_checked_as_a_real_file_system_does() {
    let (fs, _) = disk();
    let kind = |result: io::Result<Arc<dyn FsFile>>| result.unwrap_err().kind();
    assert_eq!(kind(fs.create(Path::new("d/f"))), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.create(Path::new("x/f"))), io::ErrorKind::NotFound);
    assert_eq!(kind(fs.create(Path::new("d/f/g"))), io::ErrorKind::NotADirectory);
    assert_eq!(kind(fs.open(Path::new("d"))), io::ErrorKind::IsADirectory);
    let read = fs.open_read(Path::new("d/f")).unwrap();
    assert_eq!(read.write_all_at(0, b"x").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(fs.create_dir_all(Path::new("d/f/g")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
}

#[test]
fn a_timeline_goes_through_the_same_disk_again() {
    let (fs, file) = disk();
    fs.record();
    fs.create(Path::new("d/h")).unwrap();
    fs.remove(Path::new("d/h")).unwrap();
    file.write_all_at(0, b"one").unwrap();
    file.sync_data().unwrap();
    fs.sync_dir(Path::new("d")).unwrap();
    file.write_all_at(0, b"two").unwrap();
    let mut timeline = fs.timeline();
    let mut seen = Vec::new();
    loop {
        let lost = content(&timeline.power_loss(&mut Random::new(5)), "d/f");
        seen.push((content(&timeline.kill(), "d/f").unwrap(), lost));
        if timeline.is_over() {
            break;
        }
        timeline.advance();
    }
    assert_eq!(timeline.at(), fs.steps());
    let live: Vec<&[u8]> = seen.iter().map(|(live, _)| &live[..]).collect();
    assert_eq!(live, [&b""[..], b"", b"", b"one", b"one", b"one", b"two"]);
    assert_eq!(seen[5].1.as_deref(), Some(&b"one"[..]), "name and content are durable");
    assert_eq!(content(&fs.crash(5), "d/f"), seen[6].1, "the same choice as on the disk itself");
    let later = timeline.kill();
    later.create(Path::new("d/g")).unwrap().write_all_at(0, b"new").unwrap();
    assert_eq!(content(&later, "d/f").unwrap(), b"two", "a new file is another one");
}

#[test]
fn every_choice_is_each_combination_once() {
    let (fs, file) = disk();
    fs.sync_dir(Path::new("d")).unwrap();
    file.write_all_at(0, &[1; 4096]).unwrap();
    file.write_all_at(0, &[2; 8192]).unwrap();
    fs.record();
    let (timeline, mut every) = (fs.timeline(), Every::default());
    let mut seen = Vec::new();
    loop {
        seen.push(content(&timeline.power_loss(&mut every), "d/f").unwrap());
        if !every.more() {
            break;
        }
    }
    // Three states of the first page, two of the second, three lengths.
    assert_eq!(seen.len(), 3 * 2 * 3);
}

#[test]
fn one_name_is_lost_or_left_alone() {
    let fs = SimFs::new();
    for name in ["a", "b", "c"] {
        fs.create(Path::new(name)).unwrap();
    }
    fs.record();
    let timeline = fs.timeline();
    let names = |mut choose: AllBut| -> Vec<PathBuf> {
        timeline.power_loss(&mut choose).files().into_iter().map(|(path, _)| path).collect()
    };
    let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
    assert_eq!(names(AllBut::lost(1)), paths(&["a", "c"]));
    assert_eq!(names(AllBut::left(1)), paths(&["b"]));
    assert_eq!(names(AllBut::lost(9)), paths(&["a", "b", "c"]), "there is none to lose");
    assert_eq!(names(AllBut::left(9)), paths(&[]), "nor to leave");
}

#[test]
fn one_page_is_lost_or_left_alone_and_a_length_that_did_not_change_is_no_choice() {
    let (fs, file) = disk();
    fs.sync_dir(Path::new("d")).unwrap();
    file.write_all_at(0, &[b'a'; 12 << 10]).unwrap();
    file.sync_data().unwrap();
    // Behind the length of the first file, which does not change, there is one more choice.
    let next = fs.create(Path::new("d/g")).unwrap();
    fs.sync_dir(Path::new("d")).unwrap();
    next.write_all_at(0, &[b'a'; 4 << 10]).unwrap();
    next.sync_data().unwrap();
    file.write_all_at(0, &[b'b'; 12 << 10]).unwrap();
    next.write_all_at(0, &[b'b'; 4 << 10]).unwrap();
    fs.record();
    let timeline = fs.timeline();
    let pages = |mut choose: AllBut| -> Vec<u8> {
        let left = timeline.power_loss(&mut choose);
        let all = ["d/f", "d/g"].map(|path| content(&left, path).unwrap()).concat();
        all.chunks(4 << 10).map(|page| page[0]).collect()
    };
    assert_eq!(pages(AllBut::lost(1)), b"babb");
    assert_eq!(pages(AllBut::left(2)), b"aaba");
    assert_eq!((pages(AllBut::lost(3)), pages(AllBut::left(3))), (b"bbba".to_vec(), b"aaab".to_vec()));
    assert_eq!((pages(AllBut::lost(4)), pages(AllBut::left(4))), (b"bbbb".to_vec(), b"aaaa".to_vec()), "all there is");
}

#[test]
fn a_length_is_lost_alone_behind_a_file_without_a_choice() {
    let (fs, file) = disk();
    fs.sync_dir(Path::new("d")).unwrap();
    let other = fs.create(Path::new("d/g")).unwrap();
    fs.sync_dir(Path::new("d")).unwrap();
    file.set_len(10).unwrap();
    for file in [&*other, &*file] {
        file.sync_data().unwrap();
    }
    // The same length again makes no state.
    file.set_len(10).unwrap();
    other.set_len(20).unwrap();
    fs.record();
    let timeline = fs.timeline();
    let lost = timeline.power_loss(&mut AllBut::lost(0));
    assert_eq!(content(&lost, "d/g").map(|all| all.len()), Some(0));
}

#[test]
fn a_sync_covers_what_was_there_when_it_began_and_may_be_ignored() {
    let (fs, file) = disk();
    fs.sync_dir(Path::new("d")).unwrap();
    fs.record();
    let late = Arc::clone(&file);
    fs.on_sync(Arc::new(move || {
        late.write_all_at(0, b"b").unwrap();
        "here".into()
    }));
    file.write_all_at(0, b"a").unwrap();
    file.sync_data().unwrap();
    let left: BTreeSet<_> = (0..100).map(|seed| content(&fs.crash(seed), "d/f").unwrap()).collect();
    assert_eq!(left, BTreeSet::from([b"a".to_vec(), b"b".to_vec()]));
    let mut lying = fs.timeline();
    assert_eq!(lying.sync_sites().collect::<Vec<_>>(), ["here".into()]);
    while !lying.is_over() {
        lying.advance_ignoring(|site| site == "here");
    }
    let left: BTreeSet<_> =
        (0..100).map(|seed| content(&lying.power_loss(&mut Random::new(seed)), "d/f").unwrap()).collect();
    assert!(left.contains(&b""[..]), "a disk that lies loses it");
}

#[test]
fn the_next_process_finds_the_page_cache_and_the_killed_one_does_nothing_more() {
    let (fs, file) = disk();
    fs.sync_dir(Path::new("d")).unwrap();
    file.write_all_at(0, b"a").unwrap();
    let next = fs.next_process();
    assert!(file.write_all_at(0, b"b").is_err() && file.sync_data().is_err() && fs.list(Path::new("d")).is_err());
    assert_eq!(content(&next, "d/f").unwrap(), b"a");
    assert!((0..100).any(|seed| content(&next.crash(seed), "d/f").unwrap().is_empty()), "still not durable");
}

#[test]
fn a_bit_is_turned_over() {
    let (fs, file) = disk();
    file.write_all_at(0, &[0, 0]).unwrap();
    fs.flip(Path::new("d/f"), 9).unwrap();
    fs.flip(Path::new("d/f"), 99).unwrap();
    assert_eq!(content(&fs, "d/f").unwrap(), [0, 2]);
    assert_eq!(fs.files(), [(PathBuf::from("d/f"), 2)]);
}

#[test]
fn reads_fail_one_by_one_and_harm_nothing() {
    let (fs, file) = disk();
    file.write_all_at(0, b"abc").unwrap();
    let (mut buf, first) = ([0; 3], fs.reads() + 1);
    (first..first + 4).for_each(|read| fs.fail_read_at(read));
    assert_eq!(file.read_at(0, &mut buf).unwrap_err().raw_os_error(), Some(5));
    assert!(file.len().is_err() && fs.open_read(Path::new("d/f")).is_err() && fs.map(Path::new("d/f")).is_err());
    assert_eq!((file.read_at(0, &mut buf).unwrap(), &buf), (3, b"abc"));
    fs.fail_read_at(fs.reads() + 1);
    fs.restart();
    assert_eq!(fs.list(Path::new("d")).unwrap(), ["f"]);
}
