//! How random stacks are drawn.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use vmem_pool::{AutoTrim, Batch, Footprint, Growth, Placement};
use vmem_sim::{Schedule, SimConfig};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// A stack of resources on a simulated device, and how both behave.
#[derive(Debug, Clone)]
pub(super) struct StackShape {
    /// What the pool takes its memory from.
    pub(super) source: Source,
    /// The most that the pool may hold: unlimited or so little that it is short of room all the
    /// time.
    pub(super) ceiling: Option<u64>,
    pub(super) growth: Option<Growth>,
    pub(super) footprint: Footprint,
    pub(super) batch: Batch,
    pub(super) host_wait: Option<Duration>,
    pub(super) auto_trim: Option<AutoTrim>,
    pub(super) placement: Placement,
    /// What is around the pool, from the inside out.
    pub(super) layers: Vec<Layer>,
    pub(super) granularity: u64,
    pub(super) schedule: Schedule,
    /// Chooses the device's schedule.
    pub(super) seed: u64,
}

/// Where a pool's memory comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Arena,
    Chunks(Upstream),
    /// The pool of powers of two.
    Bins,
}

/// What chunks are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upstream {
    Device,
    Async,
    Pinned,
    Managed,
    Arena,
}

/// One adaptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    Limit,
    Statistics,
    Track,
    /// With a cache that gives its memory up.
    OnFailure,
    Reservations,
    Scrub,
}

impl StackShape {
    /// The device's memory, in bytes.
    pub(super) const CAPACITY: u64 = 128 * MIB;

    /// What the simulated device's memory holds until it is written.
    pub(super) const UNWRITTEN: u8 = 0xa5;

    /// The requested bytes that a stack without a ceiling must be able to serve: an eighth of the
    /// device, because of rounding and fragmentation.
    pub(super) const LIMIT: u64 = Self::CAPACITY / 8;

    /// The device under the stack.
    pub(super) fn device(&self) -> SimConfig {
        let Self { granularity, schedule, seed, .. } = *self;
        SimConfig { capacity: Self::CAPACITY, granularity, schedule, seed, ..Default::default() }
    }

    /// The requested bytes that the stack must be able to serve. Under a low ceiling only what
    /// certainly has room.
    pub(super) fn budget(&self) -> u64 {
        if self.ceiling.is_some() { 0 } else { Self::LIMIT }
    }

    /// What the pool can hold for certain, in bytes, as far as that is known: under a ceiling that, and
    /// otherwise half of the device (aligned chunks take more of it than they count), unless the
    /// memory is the host's or another allocator's.
    pub(super) fn most(&self) -> Option<u64> {
        let device = match self.source {
            Source::Arena | Source::Bins | Source::Chunks(Upstream::Device) => {
                Some(Self::CAPACITY / 2)
            }
            Source::Chunks(_) => None,
        };
        self.ceiling.or(device)
    }

    /// A plain stack: a pool with no adaptors.
    #[cfg(test)]
    pub(super) fn of(source: Source, ceiling: Option<u64>) -> Self {
        Self {
            source,
            ceiling,
            growth: None,
            footprint: Footprint::default(),
            batch: Batch::default(),
            host_wait: None,
            auto_trim: None,
            placement: Placement::default(),
            layers: Vec::new(),
            granularity: 64 * KIB,
            schedule: Schedule::Late,
            seed: 0,
        }
    }

    pub(super) fn strategy() -> impl Strategy<Value = Self> + use<> {
        let memory = (source(), ceiling(), growth(), footprint(), batch());
        let habits = (host_wait(), auto_trim(), placement(), layers());
        let device = (select(vec![4 * KIB, 16 * KIB, 64 * KIB, 2 * MIB]), schedule(), any::<u64>());
        (memory, habits, device).prop_map(|(memory, habits, device)| {
            let (source, ceiling, growth, footprint, batch) = memory;
            let (host_wait, auto_trim, placement, layers) = habits;
            let (granularity, schedule, seed) = device;
            // A ceiling is at least a granule.
            let ceiling = ceiling.map(|bytes: u64| bytes.max(2 * granularity));
            Self {
                source,
                ceiling,
                growth,
                footprint,
                batch,
                host_wait,
                auto_trim,
                placement,
                layers,
                granularity,
                schedule,
                seed,
            }
        })
    }
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![
        6 => Just(Source::Arena),
        1 => Just(Source::Bins),
        4 => select(vec![
            Upstream::Device,
            Upstream::Async,
            Upstream::Pinned,
            Upstream::Managed,
            Upstream::Arena,
        ])
        .prop_map(Source::Chunks),
    ]
}

fn ceiling() -> impl Strategy<Value = Option<u64>> {
    proptest::option::of((1..=32_u64).prop_map(|n| n * 128 * KIB + 300))
}

fn growth() -> impl Strategy<Value = Option<Growth>> {
    let any = prop_oneof![
        Just(Growth::Exact),
        (1..=4 * MIB).prop_map(Growth::AtLeast),
        Just(Growth::Double),
    ];
    proptest::option::of(any)
}

fn footprint() -> impl Strategy<Value = Footprint> {
    select(vec![Footprint::Lazy, Footprint::Tight])
}

fn batch() -> impl Strategy<Value = Batch> {
    prop_oneof![
        Just(Batch::default()),
        Just(Batch::STRICT),
        (1..=16_u32, 0..=MIB).prop_map(|(frees, bytes)| Batch::new(frees, bytes)),
    ]
}

fn host_wait() -> impl Strategy<Value = Option<Duration>> {
    // As long as it takes, no wait, or one that ends with the work: the clock stands still during a
    // call.
    let (none, long) = (Just(Some(Duration::ZERO)), Just(Some(Duration::from_secs(1))));
    prop_oneof![6 => Just(None), 1 => none, 1 => long]
}

fn auto_trim() -> impl Strategy<Value = Option<AutoTrim>> {
    let any = (0..=4 * MIB, select(vec![0, 1, 5]))
        .prop_map(|(threshold, s)| AutoTrim::new(threshold, Duration::from_secs(s)));
    prop_oneof![2 => Just(None), 1 => any.prop_map(Some)]
}

fn placement() -> impl Strategy<Value = Placement> {
    select(vec![Placement::ByCompletion, Placement::Reproducible])
}

fn schedule() -> impl Strategy<Value = Schedule> {
    prop_oneof![7 => Just(Schedule::Late), 1 => Just(Schedule::Eager)]
}

/// Up to five adaptors in any order; memory is set aside, cached and cleared in at most one place each.
fn layers() -> impl Strategy<Value = Vec<Layer>> {
    let all = vec![
        Layer::Limit,
        Layer::Statistics,
        Layer::Track,
        Layer::OnFailure,
        Layer::Reservations,
        Layer::Scrub,
    ];
    proptest::collection::vec(select(all), 0..=5).prop_map(|mut layers| {
        for once in [Layer::OnFailure, Layer::Reservations, Layer::Scrub] {
            let mut seen = false;
            layers.retain(|&layer| layer != once || !std::mem::replace(&mut seen, true));
        }
        layers
    })
}
