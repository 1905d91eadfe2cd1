//! What a soak did, in numbers.

use std::fmt;
use std::ops::AddAssign;

/// What was done, and found to be right.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    /// Programs, each on a stack of its own.
    pub(super) programs: u64,
    /// Runs of several threads on one stack.
    pub(super) threaded: u64,
    /// Operations, the threads' included.
    pub(super) operations: u64,
    /// Driver calls failed on purpose.
    pub(super) faults: u64,
    /// Programs in which two of them struck.
    pub(super) pairs: u64,
    /// Devices lost.
    pub(super) losses: u64,
    /// Requests refused rightly.
    pub(super) refusals: u64,
    /// Bytes copied to the host and compared.
    pub(super) verified: u64,
    /// Requests served by moving memory.
    pub(super) moves: u64,
    /// Requests served behind a wait for another stream.
    pub(super) waits: u64,
    /// Bytes of device memory that were given up while their blocks rested on the host.
    pub(super) demoted: u64,
    /// How often a thread's blocks went to sleep or woke by their label.
    pub(super) naps: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.programs += other.programs;
        self.threaded += other.threaded;
        self.operations += other.operations;
        self.faults += other.faults;
        self.pairs += other.pairs;
        self.losses += other.losses;
        self.refusals += other.refusals;
        self.verified += other.verified;
        self.moves += other.moves;
        self.waits += other.waits;
        self.demoted += other.demoted;
        self.naps += other.naps;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { programs, threaded, operations, faults, pairs, losses, .. } = self;
        let Self { refusals, verified, moves, waits, demoted, naps, .. } = self;
        write!(
            f,
            "{programs} programs and {threaded} runs of several threads, {operations} operations, \
             {faults} faults injected, two each in {pairs} programs, {losses} devices lost, {refusals} \
             requests refused, {verified} B verified, {moves} moves, {waits} waits, {demoted} B \
             gone to the host, {naps} moves by label"
        )
    }
}
