//! Any body of remote write and remote read, behind snappy or as it is: stored, answered, or refused with a status that says
//! who is to blame; never 500.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use tidegauge_agent::fuzz_only::Asker;
use tidegauge_fuzz::engines::Renewed;

const WRITE_1: &str = "application/x-protobuf";
const WRITE_2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

thread_local! {
    static ASKER: RefCell<Renewed<Asker>> = RefCell::new(Renewed::new(Asker::new));
}

fuzz_target!(|input: &[u8]| {
    let Some((&first, body)) = input.split_first() else { return };
    let (path, kind) = match first % 3 {
        0 => ("/api/v1/write", WRITE_1),
        1 => ("/api/v1/write", WRITE_2),
        _ => ("/api/v1/read", WRITE_1),
    };
    // Snappy itself is met by bodies that are sent as they are.
    let pack = first & 0x80 == 0;
    let answer = ASKER.with_borrow_mut(|asker| asker.get().send(path, kind, body, pack));
    let Some((status, _)) = answer else { return };
    let expected: &[u16] = if path.ends_with("read") { &[200, 400, 413, 422, 503] } else { &[204, 400, 413, 503] };
    assert!(expected.contains(&status), "{path}: {status}");
});
