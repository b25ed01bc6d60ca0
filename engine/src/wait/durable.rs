//! Waiting until what was pushed is durable.

use std::task::Waker;

use super::{Entry, Target, Ticket, WaitList};
use crate::sync::{weakenable_fence, weakenable_step};

/// The first ticket of those who know their number. The others will never give out as many.
const NUMBERED: u64 = 1 << 63;

/// Those who wait for the device. Who pushed a moment ago does not know yet which number he waits for, since nothing
/// has one before it is visible. He is not woken to learn it: whoever makes his push visible looks the number up for
/// him (N4), so that he sleeps once and not twice, and a sync may begin before anything is applied.
pub struct DurableWaiters<P: Target> {
    /// By what they pushed.
    pushed: WaitList<P>,
    /// By number.
    numbered: WaitList,
}

impl<P: Target> DurableWaiters<P> {
    /// Nobody waits.
    pub fn new() -> Self {
        Self { pushed: WaitList::new(), numbered: WaitList::with_tickets_from(NUMBERED) }
    }

    /// Registers for a push that was not visible a moment ago, before the caller looks again at both watermarks.
    pub fn register_push(&self, push: P, waker: &Waker) -> Ticket {
        self.pushed.register(push, waker)
    }

    /// Registers for everything below `seq`, before the caller looks (again) at the durable watermark.
    pub fn register(&self, seq: u64, waker: &Waker) -> Ticket {
        self.numbered.register(seq, waker)
    }

    /// Withdraws a registration that may have been used up.
    pub fn withdraw(&self, ticket: Ticket) {
        // In this order: a registration moves from the first to the second, under the locks of both.
        if !self.pushed.withdraw(ticket) {
            self.numbered.withdraw(ticket);
        }
    }

    /// A commit is visible: `number` answers for a push that is, and its progress was stored before this call.
    /// `durable` is asked for the durable watermark when those numbers are known.
    pub fn visible(&self, number: impl Fn(&P) -> Option<u64>, durable: impl FnOnce() -> u64) {
        // Orders the caller's store before this look: pairs with the fence in `register_push`.
        weakenable_fence!("wait_visible");
        if !self.pushed.is_waiting() {
            return;
        }
        self.pushed.change(|pushed| {
            self.numbered.change(|numbered| {
                for Entry { ticket, target, waker } in pushed.take_due(|push| number(push).is_some()) {
                    let target = number(&target).expect("looked at just now, and it stays so");
                    numbered.add(Entry { ticket, target, waker });
                }
            });
        });
        // Registered on behalf of others, so this looks for them: pairs with the fence in `reached` (N1).
        weakenable_fence!("wait_numbered");
        self.numbered.reached(durable());
    }

    /// Everything below `seq` is durable, and the watermark says so.
    pub fn reached(&self, seq: u64) {
        self.numbered.reached(seq);
    }

    /// Wakes those who do not know their number: what they pushed has to wait for something else first.
    pub fn wake_pushed(&self) {
        weakenable_step!("wait_pushed", self.pushed.wake_all());
    }

    /// Wakes everybody: what they wait for may never come.
    pub fn wake_all(&self) {
        self.pushed.wake_all();
        self.numbered.wake_all();
    }

    /// Whether somebody waits. For decisions that may be late, such as when to sync.
    pub fn is_waiting(&self) -> bool {
        self.pushed.is_waiting() || self.numbered.is_waiting()
    }
}
