//! A store that was opened is opened once more: whatever became of the first opening, the second one finds the same.

use tidegauge::{Durability, Engine, Retention};
use tidegauge_storage::fs::sim::SimFs;

use crate::numbers::{self, Known};
use crate::oracle::{Found, Hidden};
use crate::script::Rng;
use crate::store::{self, Read};

/// Everything that an opening finds.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    found: Found,
    hidden: Hidden,
    retention: Retention,
}

impl Seen {
    fn of(engine: &Engine, read: &Read) -> Self {
        Self { found: read.found.clone(), hidden: store::hidden(engine), retention: engine.retention() }
    }
}

/// How an opening ends that wrote nothing but what recovery writes.
#[derive(Clone, Copy, Debug)]
enum End {
    Closed,
    Killed,
    LostPower,
}

/// Ends an engine that read `read` from its disk, with these `known` numbers, and opens that disk again.
///
/// # Errors
/// Says what is not as it was.
pub(crate) fn open_again(
    disk: &SimFs,
    engine: Engine,
    (mut read, known): (Read, &[Known]),
    durability: Durability,
    rng: &mut Rng,
) -> Result<(), String> {
    // A rule by size drops more whenever it likes: it ends first, and what is left then is what stays.
    if store::settle(&engine)? {
        read = store::read(&engine, read.lanes.len())?;
    }
    let seen = Seen::of(&engine, &read);
    let end = [End::Closed, End::Killed, End::LostPower][rng.below(3) as usize];
    let next = match end {
        End::Closed => {
            engine.close().map_err(|e| format!("what was recovered does not close: {e}"))?;
            disk.next_process()
        }
        End::Killed => {
            let next = disk.next_process();
            let _ = engine.close();
            next
        }
        End::LostPower => {
            let lost = disk.crash(rng.draw());
            let _next = disk.next_process();
            let _ = engine.close();
            lost
        }
    };
    let what = |what: &str| format!("recovered, read and {end:?}, {what}");
    let engine = store::open(&next, durability).map_err(|e| what(&format!("it does not open again: {e}")))?;
    let again = store::read(&engine, read.lanes.len()).map_err(|e| what(&format!("it cannot be read: {e}")))?;
    let now = Seen::of(&engine, &again);
    // Now they may come from segments.
    numbers::judge(&engine, known, rng).map_err(|e| what(&e))?;
    let _next = next.next_process();
    let _ = engine.close();
    if now == seen {
        return Ok(());
    }
    let (first, second) = (read.summary(), again.summary());
    Err(what(&format!("another opening finds something else: {first}, then {second}; {seen:?}, then {now:?}")))
}
