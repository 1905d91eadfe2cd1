//! Faults that tests and models plant to prove that the checker would catch them. Outside both every
//! question here is answered no, at compile time.

/// A fault in the marker or the remapping protocol.
#[cfg(any(test, loom))]
#[cfg_attr(not(loom), expect(unreachable_pub, reason = "loom's models reach it"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A thief does not wait for the marker.
    SkipWait,
    /// A free is tagged with the epoch closed before it.
    CloseEarly,
    /// Waits that other threads asked of a stream are looked for before the lock is taken.
    LookUnlocked,
    /// Neighbours of different lanes coalesce.
    CoalesceLanes,
    /// Memory moves without a wait for its last use at the old address.
    MoveEarly,
    /// Memory moves from under live blocks.
    MoveLive,
    /// An address is unmapped before its last use has completed.
    UnmapEarly,
    /// Access is set on more than what was just mapped.
    WideAccess,
}

// In a model all threads are one to the system, so that a fault is in everything they do.
#[cfg(any(test, loom))]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// Plants a fault in everything this thread does from now on.
#[cfg(any(test, loom))]
#[cfg_attr(not(loom), expect(unreachable_pub, reason = "loom's models reach it"))]
pub fn plant(fault: Option<Fault>) {
    PLANTED.with(|planted| planted.set(fault));
}

macro_rules! questions {
    ($($(#[$doc:meta])* $name:ident, $fault:ident;)*) => {$(
        $(#[$doc])*
        #[cfg(any(test, loom))]
        pub(crate) fn $name() -> bool {
            PLANTED.with(|planted| planted.get() == Some(Fault::$fault))
        }

        $(#[$doc])*
        #[cfg(not(any(test, loom)))]
        pub(crate) const fn $name() -> bool {
            false
        }
    )*};
}

questions! {
    /// Whether waits are skipped.
    skip_wait, SkipWait;
    /// Whether frees are tagged too early.
    close_early, CloseEarly;
    /// Whether pending waits are looked for too early.
    look_unlocked, LookUnlocked;
    /// Whether lanes coalesce.
    coalesce_lanes, CoalesceLanes;
    /// Whether moves wait for nothing.
    move_early, MoveEarly;
    /// Whether live memory moves.
    move_live, MoveLive;
    /// Whether pending addresses are unmapped.
    unmap_early, UnmapEarly;
    /// Whether access is set too widely.
    wide_access, WideAccess;
}
