//! Programs by chance on several streams, held to what a host would compute and to the checker.

use cudarc::driver::DeviceSlice;
use vmem_cudarc::{SharedStream, VmemSlice};

use crate::support::bench_with;

/// Numbers that look random, the same for one seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// A slice and what it holds.
type Known = (VmemSlice<u8>, Vec<u8>);

/// One step of a program: fills, copies, reads, makes or drops a slice, on some stream.
fn step(
    chance: &mut Chance,
    pool: &std::sync::Arc<dyn vmem_core::MemoryResource>,
    streams: &[SharedStream],
    slices: &mut Vec<Known>,
) {
    let on = &streams[chance.below(streams.len())];
    let what = chance.below(6);
    if slices.len() < 2 || (what == 0 && slices.len() < 12) {
        let host: Vec<u8> =
            vec![u8::try_from(chance.below(256)).unwrap(); 1 + chance.below(50_000)];
        slices.push((VmemSlice::clone_htod(pool.clone(), &host, on).unwrap(), host));
        return;
    }
    let at = chance.below(slices.len());
    match what {
        1 => drop(slices.swap_remove(at)),
        2 => {
            let (slice, host) = &mut slices[at];
            let from = chance.below(host.len());
            // Of two readers at once cudarc remembers one, for a write to wait for.
            slice.make_ready_on(on).unwrap();
            on.cudarc().memset_zeros(&mut slice.slice_mut(from..)).unwrap();
            host[from..].fill(0);
        }
        3 => {
            let (slice, host) = &slices[at];
            assert_eq!(on.cudarc().clone_dtoh(slice).unwrap(), *host);
        }
        4 => {
            let (slice, host) = &slices[at];
            let copy = VmemSlice::clone_dtod(pool.clone(), slice, on).unwrap();
            let host = host.clone();
            slices[at].0.record_use(on).unwrap();
            slices.push((copy, host));
        }
        _ => {
            let (mut to, mut expected) = slices.swap_remove(at);
            let source = chance.below(slices.len());
            let (from, host) = &mut slices[source];
            let len = to.len().min(from.len());
            to.make_ready_on(on).unwrap();
            on.cudarc().memcpy_dtod(&from.slice(..len), &mut to.slice_mut(..len)).unwrap();
            from.record_use(on).unwrap();
            expected[..len].copy_from_slice(&host[..len]);
            slices.push((to, expected));
        }
    }
}

#[test]
fn programs_on_several_streams_keep_their_bytes_and_break_no_rule() {
    for seed in 0..6 {
        let Some(bench) = bench_with(&format!("SEED={seed}")) else { return };
        let (pool, handle) = bench.pool();
        let streams: Vec<_> = (0..3).map(|_| bench.stream()).collect();
        let mut chance = Chance(seed);
        let mut slices = Vec::new();
        for _ in 0..150 {
            step(&mut chance, &pool, &streams, &mut slices);
            handle.check_invariants();
        }
        for (slice, host) in slices {
            let home = DeviceSlice::stream(&slice).clone();
            assert_eq!(home.clone_dtoh(&slice).unwrap(), host, "seed {seed}");
        }
        assert_eq!(handle.counters().unwrap().live, 0);
        drop((pool, streams));
        bench.finish();
    }
}
