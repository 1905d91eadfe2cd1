//! Runtimes to test, and what they log.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use vmem_core::{Block, BlockLayout, Device, MemoryResource, ResourceExt, Stream};
use vmem_runtime::{Recovery, Runtime, RuntimeConfig, Size, Stack, Tier};
use vmem_sim::{CallKind, Parts, SimConfig, SimDevice};

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const CAPACITY: u64 = 256 * MIB;

pub(crate) fn device() -> Arc<SimDevice> {
    SimDevice::new(CAPACITY)
}

pub(crate) fn device_without(parts: Parts) -> Arc<SimDevice> {
    let parts = Parts::all() - parts;
    SimDevice::with_config(SimConfig { capacity: CAPACITY, parts, ..Default::default() }).unwrap()
}

/// The defaults, but for the reserve, which is larger than the tests' devices.
pub(crate) fn config() -> RuntimeConfig {
    RuntimeConfig::default().with_memory_reserve(Size::Bytes(0))
}

pub(crate) fn runtime(config: RuntimeConfig, device: &Arc<SimDevice>) -> Runtime {
    let device = device.clone();
    Runtime::new(config, move || Ok(device.clone()))
}

/// A kind of stack that a runtime can come to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) tier: Tier,
    pub(crate) oom_safety: bool,
    /// What the device lacks.
    pub(crate) without: Parts,
}

/// Every tier, the pools over both backings, the fallback with and without recovery.
pub(crate) const KINDS: [Kind; 6] = [
    Kind { tier: Tier::A, oom_safety: false, without: Parts::empty() },
    Kind { tier: Tier::A, oom_safety: false, without: Parts::VIRTUAL_MEMORY },
    Kind { tier: Tier::B, oom_safety: true, without: Parts::empty() },
    Kind { tier: Tier::C, oom_safety: false, without: Parts::empty() },
    Kind { tier: Tier::Fallback, oom_safety: false, without: Parts::empty() },
    Kind { tier: Tier::Fallback, oom_safety: true, without: Parts::empty() },
];

impl Kind {
    pub(crate) fn config(self) -> RuntimeConfig {
        let managed_memory = self.tier == Tier::C;
        config().with_oom_safety(self.oom_safety).with_managed_memory(managed_memory)
    }

    pub(crate) fn stack(self, device: &Arc<SimDevice>) -> Stack {
        Stack::build(self.tier, device.clone(), &self.config(), &Recovery::default()).unwrap()
    }

    /// A runtime that comes to this kind, and its device.
    pub(crate) fn runtime(self) -> (Runtime, Arc<SimDevice>) {
        let device = device_without(self.without);
        if self.tier == Tier::Fallback {
            fail_address_ranges(&device);
        }
        let runtime = runtime(self.config(), &device);
        assert_eq!(runtime.ensure_ready().unwrap().tier, self.tier);
        device.clear_failures();
        (runtime, device)
    }
}

/// Makes every range of addresses that an arena asks for fail, and not for lack of memory.
pub(crate) fn fail_address_ranges(device: &SimDevice) {
    for nth in 1..=8 {
        device.fail_call(Some(CallKind::Reserve), nth, vmem_core::DriverCode::UNKNOWN);
    }
}

pub(crate) fn layout(size: u64) -> BlockLayout {
    BlockLayout::new(size).unwrap()
}

pub(crate) fn alloc(memory: &dyn MemoryResource, size: u64, stream: &Stream) -> Block {
    memory.allocate_on(layout(size), stream).unwrap()
}

/// Frees a block that no work was queued on, or only on `stream`.
pub(crate) fn free(memory: &dyn MemoryResource, block: Block, stream: &Stream) {
    // SAFETY: contract, freeing: the tests queue work on a block on the stream that frees it only.
    unsafe { memory.deallocate(block, stream) }.unwrap();
}

/// Checks that the device saw no misuse and keeps nothing. Everything else must be dropped before.
pub(crate) fn finish(device: &SimDevice) {
    device.assert_clean();
    assert!(device.leaks().is_empty(), "{:?}", device.leaks());
    assert_eq!(device.base().drop_failures().count(), 0);
}

/// Collects the warnings of this workspace's runtime.
#[derive(Debug, Clone, Default)]
pub(crate) struct Warnings {
    texts: Arc<Mutex<Vec<String>>>,
    spans: Arc<AtomicU64>,
}

impl Warnings {
    /// The warnings that `f` logs on this thread.
    pub(crate) fn during(f: impl FnOnce()) -> Vec<String> {
        let warnings = Self::default();
        // While there is only one subscriber, tracing asks each thread's own whether anybody wants an event,
        // and keeps the answer for all: that of a thread of another test might be no.
        let _second = tracing::Dispatch::new(Self::default());
        tracing::subscriber::with_default(warnings.clone(), f);
        std::mem::take(&mut *warnings.texts.lock().unwrap())
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target().starts_with("vmem_runtime")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.texts.lock().unwrap().push(text.0);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write;
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}
