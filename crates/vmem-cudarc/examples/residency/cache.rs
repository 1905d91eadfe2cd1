//! A cache that spills: some entries are used often, most seldom.

use std::time::Instant;

use crate::card::{Answer, Buffer, Card, Pattern, Store};

const ENTRIES: u64 = 64;
const USES: u64 = 1000;

/// Uses a cache of so many bytes with room, and with half and a quarter of that on the device.
pub(crate) fn run(card: &mut Card, bytes: u64) -> Answer<()> {
    let size = bytes / ENTRIES / (2 << 20) * (2 << 20);
    for pattern in [Pattern::Streaming, Pattern::Random] {
        let mut room: Option<(f64, u64)> = None;
        for part in [1, 2, 4] {
            let ceiling = (part > 1).then_some(bytes / part);
            let host = ceiling.map_or(0, |ceiling| bytes - ceiling + bytes / 8);
            let (store, filled) = Store::new(card, ceiling, host)?;
            let mut entries: Vec<Buffer> = Vec::new();
            for seed in 0..ENTRIES {
                let entry = store.buffer(card, size)?;
                let lease = entry.lease(card.stream.vmem())?;
                let ptr = lease.ptr().ok_or("an entry has no memory")?;
                card.make(ptr, size, u32::try_from(seed)?)?;
                drop(lease);
                entries.push(entry);
            }
            card.take_sum()?;
            let before = store.spill.counts();
            let (mut hits, mut random) = (0, 1_u64);
            let started = Instant::now();
            for _ in 0..USES {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1 << 32 | 1);
                let entry = &entries[zipf(random)];
                hits += u64::from(entry.is_on_device());
                let lease = entry.lease(card.stream.vmem())?;
                let ptr = lease.ptr().ok_or("an entry has no memory")?;
                card.visit(ptr, size, pattern)?;
            }
            card.synchronize()?;
            let seconds = started.elapsed().as_secs_f64();
            let sum = card.take_sum()?;
            let after = store.spill.counts();
            let &mut (roomy, wanted) = room.get_or_insert((seconds, sum));
            println!(
                concat!(
                    r#"{{"part":"cache","pattern":"{}","entries":{},"entry_bytes":{},"#,
                    r#""ceiling":{},"uses":{},"on_device":{},"left_on_host":{},"moved_out":{},"#,
                    r#""moved_back":{},"seconds":{:.4},"slowdown":{:.2},"results_equal":{},"#,
                    r#""host_reserve_seconds":{:.3}}}"#
                ),
                pattern.name(),
                ENTRIES,
                size,
                ceiling.unwrap_or(0),
                USES,
                hits,
                after.left_on_host - before.left_on_host,
                after.demoted_bytes - before.demoted_bytes,
                after.promoted_bytes - before.promoted_bytes,
                seconds,
                seconds / roomy,
                sum == wanted,
                filled
            );
        }
    }
    Ok(())
}

/// An entry: the one of rank k is taken 1 / k as often as the first.
fn zipf(random: u64) -> usize {
    let weights: f64 = (1..=ENTRIES).map(|rank| 1.0 / rank as f64).sum();
    let mut left = (random >> 33) as f64 / (1_u64 << 31) as f64 * weights;
    for (index, rank) in (1..=ENTRIES).enumerate() {
        left -= 1.0 / rank as f64;
        if left < 0.0 {
            // Neighbours in rank are no neighbours in age.
            return index * 37 % 64;
        }
    }
    0
}
