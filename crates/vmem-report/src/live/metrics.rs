//! Counters of pools in the text format of OpenMetrics.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use vmem_pool::{Counters, PoolHandle};

/// What pools count, as a text that ends as the format asks.
pub(super) fn text(pools: &[(String, PoolHandle)]) -> String {
    let read = pools.iter().filter_map(|(name, pool)| Some((name.clone(), pool.counters()?)));
    let mut registry = Registry::with_prefix("vmem_pool");
    registry.register_collector(Box::new(Pools(read.collect())));
    let mut text = String::new();
    // A string takes whatever is written to it.
    let _ = text::encode(&mut text, &registry);
    text
}

#[derive(Debug)]
struct Pools(Vec<(String, Counters)>);

/// What there is now, or the most there was: its name, what it says, and where it is.
type Figure = (&'static str, &'static str, fn(&Counters) -> u64);

/// Bytes that go up and down.
const BYTES: [Figure; 9] = [
    ("live", "Requested sizes of live blocks", |c| c.live),
    ("peak_live", "The most that was live", |c| c.peak_live),
    ("reserved", "Memory held from the device", |c| c.reserved),
    ("peak_reserved", "The most that was held", |c| c.peak_reserved),
    ("aliased", "Addresses of memory that is in use at other addresses", |c| c.aliased),
    ("quarantined", "Free memory that a synchronisation of the device would free", |c| {
        c.quarantined
    }),
    ("away", "Requested sizes of live blocks that take no room on the device", |c| c.away),
    ("on_host", "The host's memory in use", |c| c.on_host),
    ("host_reserve", "The host's memory that is kept ready", |c| c.host_reserve),
];

/// Bytes that only grow in number.
const TOTAL_BYTES: [Figure; 5] = [
    ("grown", "Memory taken from the device", |c| c.bytes_grown),
    ("trimmed", "Memory returned to the device", |c| c.bytes_trimmed),
    ("moved", "Memory moved to other addresses", |c| c.bytes_moved),
    ("demoted", "Memory of the device that live blocks gave up", |c| c.bytes_demoted),
    ("promoted", "Memory of the device that live blocks took again", |c| c.bytes_promoted),
];

/// Events.
const TOTALS: [Figure; 9] = [
    ("allocations", "Blocks handed out", |c| c.allocations),
    ("frees", "Blocks taken back", |c| c.frees),
    ("failures", "Requests refused", |c| c.failures),
    ("completed", "Requests served from other streams' completed memory", |c| c.completed),
    ("waits", "Requests served behind a wait on the device", |c| c.waits),
    ("merges", "Requests served by joining memory of several streams", |c| c.merges),
    ("growths", "Times that memory was taken from the device", |c| c.growths),
    ("moves", "Requests served by moving memory", |c| c.moves),
    ("markers", "Markers recorded", |c| c.markers),
];

impl Pools {
    fn family(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help, read): Figure,
        unit: Option<&Unit>,
        metric: &dyn Fn(u64) -> Value,
    ) -> fmt::Result {
        let kind = metric(0).metric_type();
        let mut family = encoder.encode_descriptor(name, help, unit, kind)?;
        for (pool, counters) in &self.0 {
            let labels = [("pool", pool.as_str())];
            metric(read(counters)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Collector for Pools {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let bytes = Some(&Unit::Bytes);
        for figure in BYTES {
            self.family(&mut encoder, figure, bytes, &Value::Gauge)?;
        }
        for figure in TOTAL_BYTES {
            self.family(&mut encoder, figure, bytes, &Value::Counter)?;
        }
        for figure in TOTALS {
            self.family(&mut encoder, figure, None, &Value::Counter)?;
        }
        Ok(())
    }
}

/// One figure of one pool.
#[derive(Debug)]
enum Value {
    Gauge(u64),
    Counter(u64),
}

impl EncodeMetric for Value {
    fn encode(&self, encoder: prometheus_client::encoding::MetricEncoder<'_>) -> fmt::Result {
        match *self {
            Self::Gauge(value) => ConstGauge::new(value).encode(encoder),
            Self::Counter(value) => ConstCounter::new(value).encode(encoder),
        }
    }

    fn metric_type(&self) -> prometheus_client::metrics::MetricType {
        match self {
            Self::Gauge(_) => prometheus_client::metrics::MetricType::Gauge,
            Self::Counter(_) => prometheus_client::metrics::MetricType::Counter,
        }
    }
}
