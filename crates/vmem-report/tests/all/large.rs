//! Long traces.

use std::sync::Arc;

use vmem_core::{Label, MemoryResource};
use vmem_pool::{Pool, PoolConfig, PoolHandle, VirtualArena};
use vmem_report::{Observed, Report};
use vmem_sim::{Bytes, Checker, SimConfig, SimDevice};
use vmem_trace::{Origin, ReplayStack, Trace, TraceBuilder};

/// A pool on a simulated device that keeps no bytes.
#[derive(Debug)]
struct Stack {
    device: Arc<SimDevice>,
    memory: Arc<dyn MemoryResource>,
    pool: PoolHandle,
}

impl Stack {
    fn new() -> Self {
        let config = SimConfig {
            capacity: 8 << 30,
            bytes: Bytes::None,
            checker: Checker::Off,
            ..SimConfig::default()
        };
        let device = SimDevice::with_config(config).unwrap();
        let arena = VirtualArena::new(device.clone()).unwrap();
        let memory = Pool::new(arena, PoolConfig::default()).unwrap();
        let pool = memory.handle();
        Self { device, memory: Arc::new(memory), pool }
    }
}

impl ReplayStack for Stack {
    fn resource(&self) -> &Arc<dyn MemoryResource> {
        &self.memory
    }
    fn description(&self) -> String {
        self.memory.to_string()
    }
    fn reserved(&self) -> u64 {
        self.device.used()
    }
    fn peak_reserved(&self) -> u64 {
        self.device.peak_used()
    }
    fn driver_calls(&self) -> Option<u64> {
        Some(self.device.calls().total())
    }
}

impl Observed for Stack {
    fn pool(&self) -> Option<&PoolHandle> {
        Some(&self.pool)
    }
    fn most(&self) -> Option<u64> {
        None
    }
    fn knows_reserved(&self) -> bool {
        true
    }
    fn backed(&self) -> Vec<(u64, u64)> {
        Vec::new()
    }
}

/// So many events in which up to 700 blocks of many sizes and labels are live on three streams.
fn long(events: usize) -> Trace {
    let labels: Vec<_> = (0..40).map(|n| Label::intern(&format!("part.{n}"))).collect();
    let mut builder = TraceBuilder::new();
    let mut live = std::collections::VecDeque::new();
    let mut seed = 1_u64;
    for n in 0.. {
        if builder.len() >= events {
            break;
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (size, label) = (256 << (seed >> 33 & 12) | (seed >> 40 & 255), (seed >> 50) % 40);
        let origin = Origin::stream(n % 3);
        live.push_back((
            builder.allocate(size, origin, labels[usize::try_from(label).unwrap()]).unwrap(),
            origin,
        ));
        while live.len() > 100 + usize::try_from((seed >> 20) % 600).unwrap() {
            let (slot, origin) = live.pop_front().unwrap();
            builder.free(slot, origin).unwrap();
        }
    }
    builder.finish("long")
}

#[test]
fn the_page_of_two_million_events_has_less_than_ten_megabytes_and_says_how_far_it_is() {
    let trace = long(2_000_000);
    let mut report = Report::of(&trace);
    let mut told = Vec::new();
    let mut progress = |done| told.push(done);
    let replayed = report.replay("pool", &trace, &Stack::new(), &mut progress).unwrap();
    assert!(replayed.passed(), "{replayed:?}");
    assert!(told.is_sorted() && told.len() > 400);
    let mut page = Vec::new();
    report.write_html(&mut page).unwrap();
    assert!(page.len() < 10_000_000, "{} bytes", page.len());
    assert!(page.len() > 100_000, "{} bytes", page.len());
}
