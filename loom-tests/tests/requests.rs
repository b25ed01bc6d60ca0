//! Q1 to Q4 of `docs/concurrency.md`: what is asked of the worker is done once and answered always.
#![cfg(loom)]

use std::time::Duration;

use loom::sync::Arc;
use loom::thread;
use tidegauge::loom_only::requests::{NoReply, Replier, Requests, reply};
use tidegauge_loom_tests::model;

type Asked = (u64, Replier<u64>);

fn ask(requests: &Requests<Asked>, number: u64) -> Result<u64, NoReply> {
    let (replier, mut answer) = reply();
    if requests.ask((number, replier), 1, Duration::ZERO).is_err() {
        return Err(NoReply::Gone);
    }
    answer.wait(None)
}

/// Q3: the worker serves one round and goes; who asks is answered, refused or told, but never left waiting.
#[test]
fn every_request_is_answered_or_told_that_nobody_will() {
    model(3, || {
        let requests: Arc<Requests<Asked>> = Arc::new(Requests::new(4));
        let askers = [1, 2].map(|number| {
            let requests = Arc::clone(&requests);
            thread::spawn(move || ask(&requests, number))
        });
        let mut served = 0;
        while let Some((number, replier)) = requests.take_first_that(|_, _| true) {
            replier.tell(number * 10);
            served += 1;
        }
        requests.close();
        let answers = askers.map(|asker| asker.join().unwrap());
        assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), served);
        assert!(answers.iter().zip([10, 20]).all(|(a, own)| *a == Ok(own) || *a == Err(NoReply::Gone)));
        assert!(requests.take_first_that(|_, _| true).is_none());
    });
}

/// Q1.
#[test]
fn requests_are_taken_once_and_each_askers_in_order() {
    model(2, || {
        let requests: Arc<Requests<u64>> = Arc::new(Requests::new(8));
        let askers = [1, 10].map(|first| {
            let requests = Arc::clone(&requests);
            thread::spawn(move || {
                for number in [first, first + 1] {
                    requests.ask(number, 1, Duration::ZERO).unwrap();
                }
            })
        });
        let mut taken = Vec::new();
        while taken.len() < 4 {
            match requests.take_first_that(|_, _| true) {
                Some(number) => taken.push(number),
                None => thread::yield_now(),
            }
        }
        askers.into_iter().for_each(|asker| asker.join().unwrap());
        for first in [1, 10] {
            let own: Vec<u64> = taken.iter().copied().filter(|n| (first..first + 2).contains(n)).collect();
            assert_eq!(own, [first, first + 1]);
        }
    });
}

/// Q2.
#[test]
fn a_request_is_taken_or_withdrawn() {
    model(3, || {
        let requests: Arc<Requests<u64>> = Arc::new(Requests::new(8));
        let asker = {
            let requests = Arc::clone(&requests);
            thread::spawn(move || {
                let no = requests.ask(1, 1, Duration::ZERO).unwrap();
                requests.withdraw(no).is_some()
            })
        };
        let taken = requests.take_first_that(|_, _| true).is_some();
        let withdrawn = asker.join().unwrap();
        let left = requests.take_first_that(|_, _| true).is_some();
        assert_eq!([taken, withdrawn, left].iter().filter(|done| **done).count(), 1);
    });
}

/// Q4: there is room for one. Who asks meanwhile waits for it, and his request is taken.
#[test]
fn who_asks_waits_for_room_and_gets_it() {
    model(3, || {
        let requests: Arc<Requests<u64>> = Arc::new(Requests::new(1));
        requests.ask(1, 1, Duration::ZERO).unwrap();
        let asker = {
            let requests = Arc::clone(&requests);
            // Longer than any model runs.
            thread::spawn(move || requests.ask(2, 1, Duration::from_secs(3600)).unwrap())
        };
        assert_eq!(requests.take_first_that(|_, _| true), Some(1));
        asker.join().unwrap();
        assert_eq!(requests.take_first_that(|_, _| true), Some(2));
    });
}
