//! Counting what one thread does between two points.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Weak};

use super::counters::Counters;
use super::figures::Usage;
use super::flow::Flows;

thread_local! {
    /// How many scopes the thread has open; apart from the list because it is read on every call.
    static OPEN: Cell<usize> = const { Cell::new(0) };
    static SCOPES: RefCell<Vec<Rc<Open>>> = const { RefCell::new(Vec::new()) };
}

/// Counts what the calling thread allocates and frees through one adaptor, until it is dropped.
///
/// Starts at zero. Scopes nest: what an inner one counts, the outer ones count too. A scope that
/// frees what was allocated before it began goes below zero. It cannot leave its thread.
///
/// ```
/// use vmem_adaptors::Statistics;
/// use vmem_core::{DeviceMemory, ResourceExt, Stream};
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(1 << 30);
/// let stream = Stream::new(device.clone())?;
/// let memory = Statistics::new(DeviceMemory::new(device));
/// let stats = memory.handle();
///
/// let outer = stats.scope()?;
/// let kept = memory.buffer(1000, &stream)?;
/// {
///     let inner = stats.scope()?;
///     drop(memory.buffer(500, &stream)?);
///     assert_eq!((inner.usage().bytes.current, inner.usage().bytes.peak), (0, 500));
/// }
/// assert_eq!((outer.usage().bytes.current, outer.usage().bytes.peak), (1000, 1500));
/// # Ok(())
/// # }
/// ```
#[must_use = "a scope counts until it is dropped"]
#[derive(Debug)]
pub struct StatsScope {
    open: Rc<Open>,
}

#[derive(Debug)]
struct Open {
    /// Never read; only told from others.
    of: Weak<Counters>,
    flows: Cell<Flows>,
}

impl StatsScope {
    pub(super) fn begin(of: &Arc<Counters>) -> Self {
        let of = Arc::downgrade(of);
        let open = Rc::new(Open { of, flows: Cell::default() });
        // At a thread's very end there is no list any more, and nothing left to count.
        let listed = SCOPES.try_with(|scopes| scopes.borrow_mut().push(open.clone()));
        if listed.is_ok() {
            OPEN.set(OPEN.get() + 1);
        }
        Self { open }
    }

    /// The thread's figures since the scope began.
    pub fn usage(&self) -> Usage {
        self.open.flows.get().usage()
    }
}

impl Drop for StatsScope {
    fn drop(&mut self) {
        let _ = SCOPES.try_with(|scopes| {
            let mut scopes = scopes.borrow_mut();
            if let Some(at) = scopes.iter().rposition(|open| Rc::ptr_eq(open, &self.open)) {
                scopes.remove(at);
                OPEN.set(OPEN.get() - 1);
            }
        });
    }
}

/// Whether the thread has any scope open, of this adaptor or another.
#[inline]
pub(super) fn any_is_open() -> bool {
    OPEN.get() != 0
}

/// Counts in the thread's scopes of `counters`.
pub(super) fn update(counters: &Counters, change: impl Fn(&mut Flows)) {
    let _ = SCOPES.try_with(|scopes| {
        for open in scopes.borrow().iter() {
            if std::ptr::eq(open.of.as_ptr(), counters) {
                let mut flows = open.flows.get();
                change(&mut flows);
                open.flows.set(flows);
            }
        }
    });
}
