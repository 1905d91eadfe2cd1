//! Models of everything here that gates or counts across threads, explored by loom in every order.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p vmem-adaptors --test loom --release`

#![cfg(loom)]

use loom::thread;

// The source of the real gauge, which is not public, and what it expects beside it.
#[path = "../src/statistics/figures.rs"]
#[allow(dead_code, unreachable_pub, reason = "the gauge needs two of the figures")]
mod figures;
#[path = "../src/statistics/gauge.rs"]
mod gauge;
#[path = "../src/sync.rs"]
#[expect(unused_imports, reason = "the gauge needs no lock")]
mod sync;
#[path = "../src/words.rs"]
mod words;

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

mod statistics {
    use super::figures::Usage;
    use super::gauge::{Cell, FLOOR_BYTES, Gauge};
    use super::thread;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicBool, Ordering};

    /// Large enough to be published at once.
    const LARGE: u64 = 2 * FLOOR_BYTES.unsigned_abs();

    /// A gauge and the cells of two threads.
    #[derive(Default)]
    struct Counted {
        gauge: Gauge,
        cells: [Cell; 2],
    }

    impl Counted {
        fn new() -> Arc<Self> {
            Arc::default()
        }

        fn allocated(&self, thread: usize, size: u64) {
            self.gauge.allocated(&self.cells[thread], size);
        }

        fn freed(&self, thread: usize, size: u64) {
            self.gauge.freed(&self.cells[thread], size);
        }

        fn usage(&self) -> Usage {
            self.gauge.usage(self.cells.iter())
        }
    }

    #[test]
    fn sums_are_exact_and_the_peak_of_large_blocks_is_too() {
        loom::model(|| {
            let counted = Counted::new();
            let other = counted.clone();
            let thread = thread::spawn(move || other.allocated(1, LARGE));
            counted.allocated(0, LARGE);
            thread.join().unwrap();
            assert!(counted.cells.iter().all(|cell| !cell.is_unused()));
            let bytes = counted.usage().bytes;
            assert_eq!(bytes.current.unsigned_abs(), 2 * LARGE);
            assert_eq!(bytes.total, 2 * LARGE);
            assert_eq!(bytes.peak, 2 * LARGE);
        });
    }

    #[test]
    fn the_peak_is_off_by_at_most_what_one_other_thread_keeps_unpublished() {
        loom::model(|| {
            let counted = Counted::new();
            let small = LARGE / 4;
            let other = counted.clone();
            let thread = thread::spawn(move || {
                other.allocated(1, small);
                other.freed(1, small);
            });
            counted.allocated(0, LARGE);
            counted.freed(0, LARGE);
            thread.join().unwrap();
            let bytes = counted.usage().bytes;
            assert_eq!(bytes.current, 0);
            // Without the other thread the peak is LARGE, with it at once LARGE + small.
            let bound = FLOOR_BYTES.unsigned_abs();
            assert!(bytes.peak >= LARGE, "{bytes:?}");
            assert!(bytes.peak <= LARGE + small + bound, "{bytes:?}");
        });
    }

    #[test]
    fn a_reset_beside_an_allocation_leaves_at_least_what_is_in_use() {
        loom::model(|| {
            let counted = Counted::new();
            let other = counted.clone();
            let thread = thread::spawn(move || other.allocated(1, LARGE));
            counted.gauge.reset_peak(counted.cells.iter());
            thread.join().unwrap();
            let bytes = counted.usage().bytes;
            assert_eq!((bytes.current.unsigned_abs(), bytes.peak), (LARGE, LARGE));
        });
    }

    #[test]
    fn a_reader_never_sees_a_free_without_its_allocation() {
        loom::model(|| {
            let counted = Counted::new();
            let (other, handed_over) = (counted.clone(), Arc::new(AtomicBool::new(false)));
            let flag = handed_over.clone();
            let freeing = thread::spawn(move || {
                if flag.load(Ordering::Acquire) {
                    other.freed(1, 8);
                }
            });
            let other = counted.clone();
            let reading = thread::spawn(move || other.usage());
            counted.allocated(0, 8);
            handed_over.store(true, Ordering::Release);
            let seen = reading.join().unwrap();
            assert!(seen.bytes.current >= 0 && seen.blocks.current >= 0, "{seen:?}");
            freeing.join().unwrap();
        });
    }
}
