//! Models of everything here that gates or counts across threads, explored by loom in every order.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p vmem-adaptors --test loom --release`

#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod spill;

use loom::thread;

mod budget {
    use super::thread;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicI64, Ordering};
    use vmem_adaptors::Budget;
    use vmem_core::{Allowance, BlockLayout};

    #[test]
    fn never_admits_more_than_the_limit_and_always_one_that_fits() {
        loom::model(|| {
            let budget = Budget::new(100);
            let other = budget.clone();
            let large = thread::spawn(move || other.charge(60).map(std::mem::forget).is_some());
            let small = budget.charge(50).map(std::mem::forget).is_some();
            let large = large.join().unwrap();
            assert!(large ^ small, "exactly one of 60 and 50 fits 100");
            assert_eq!(budget.used(), if large { 60 } else { 50 });
        });
    }

    #[test]
    fn refuses_nothing_that_fits_while_a_larger_request_is_being_refused() {
        loom::model(|| {
            let budget = Budget::new(100);
            let other = budget.clone();
            let huge = thread::spawn(move || other.charge(1000).is_some());
            let fits = budget.charge(100);
            assert!(fits.is_some());
            assert!(!huge.join().unwrap());
        });
    }

    /// The rule above under a limiter that adds first and takes back when that was too much.
    #[test]
    #[should_panic(expected = "refused what fits")]
    fn the_model_catches_adding_before_comparing() {
        fn charge(used: &AtomicI64, bytes: i64) -> bool {
            let admitted = used.fetch_add(bytes, Ordering::Relaxed) + bytes <= 100;
            if !admitted {
                used.fetch_sub(bytes, Ordering::Relaxed);
            }
            admitted
        }
        loom::model(|| {
            let used = Arc::new(AtomicI64::new(0));
            let other = used.clone();
            let huge = thread::spawn(move || charge(&other, 1000));
            assert!(charge(&used, 100), "refused what fits");
            huge.join().unwrap();
        });
    }

    #[test]
    fn frees_restore_exactly_what_was_charged() {
        loom::model(|| {
            let budget = Budget::new(100);
            let other = budget.clone();
            let thread = thread::spawn(move || drop(other.charge(70)));
            drop(budget.charge(30));
            thread.join().unwrap();
            assert_eq!((budget.used(), budget.available()), (0, 100));
        });
    }

    #[test]
    fn what_is_available_is_never_more_than_the_limit_whoever_gives_back_too_much() {
        loom::model(|| {
            let budget = Budget::new(100);
            let account = Arc::new(budget.account());
            assert!(account.take(60));
            let other = account.clone();
            let generous = thread::spawn(move || other.give_back(50));
            account.give_back(50);
            budget.set_limit(u64::MAX);
            assert!(budget.available() <= BlockLayout::MAX_SIZE);
            generous.join().unwrap();
            assert_eq!((account.held(), budget.used()), (0, 0));
            assert_eq!(budget.available(), BlockLayout::MAX_SIZE);
        });
    }

    #[test]
    fn a_lowered_limit_holds_from_the_moment_it_is_set() {
        loom::model(|| {
            let budget = Budget::new(100);
            let other = budget.clone();
            let racing = thread::spawn(move || other.charge(60).map(std::mem::forget).is_some());
            budget.set_limit(50);
            let admitted_now = budget.charge(40).map(std::mem::forget).is_some();
            let racing = racing.join().unwrap();
            assert_eq!(admitted_now, !racing, "60 was admitted before the change or not at all");
            assert_eq!((budget.limit(), budget.used()), (50, if racing { 60 } else { 40 }));
        });
    }
}
