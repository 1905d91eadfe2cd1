//! The arrays of an overlay, larger than the ceiling: with room, spilled, and on the host.

use std::collections::HashMap;
use std::time::Instant;

use vmem_adaptors::SpillMemory;
use vmem_core::{DeviceBuffer, DevicePtr, Label};
use vmem_trace::{Event, Mark, Operands, Scale, Trace, Workload, WorkloadOptions};

use crate::card::{Answer, Buffer, Card, Memory, Pattern, Store};

/// Live peak over the ceiling, in tenths.
const OVER: [u64; 3] = [12, 15, 20];

enum Array {
    Leased(Buffer, u64),
    /// In the host's memory from the start.
    OnHost(DeviceBuffer<Memory>, u64),
}

/// What a pass came to.
struct Outcome {
    seconds: f64,
    sum: u64,
    /// Bytes that left the device and that came back.
    moved: (u64, u64),
    /// Bytes of arrays that kernels used on the host.
    on_host: u64,
}

struct Run<'a> {
    card: &'a mut Card,
    store: &'a Store,
    pattern: Pattern,
    /// All arrays rest on the host.
    rests: bool,
    arrays: HashMap<u32, Array>,
    operands: Operands,
    made: u32,
    on_host: u64,
    seconds: f64,
}

/// Prints a line for each pattern with room, on the host and under each ceiling.
pub(crate) fn run(card: &mut Card, scale: Scale) -> Answer<()> {
    let options = WorkloadOptions { scale, passes: 2, ..Workload::OverlayCore.defaults() };
    let trace = Workload::OverlayCore.generate(&options)?;
    let live = trace.peak_live();
    let mut rooms = Vec::new();
    for pattern in Pattern::ALL {
        let (store, _) = Store::new(card, None, 0)?;
        let room = pass(card, &store, &trace, pattern, false)?;
        print(&row("room", pattern, live, 0, &room, &room));
        rooms.push(room);
    }
    for over in OVER {
        let ceiling = live / over * 10;
        let (store, filled) = Store::new(card, Some(ceiling), live - ceiling + live / 4)?;
        println!(r#"{{"part":"overlay","host_reserve_seconds":{filled:.3}}}"#);
        for (pattern, room) in Pattern::ALL.into_iter().zip(&rooms) {
            match pass(card, &store, &trace, pattern, false) {
                Ok(spilled) => print(&row("spill", pattern, live, ceiling, &spilled, room)),
                Err(error) => {
                    let (name, chain) = (pattern.name(), vmem_core::chain(&*error).to_string());
                    print(&format!(
                        r#"{{"part":"overlay","pattern":"{name}","ceiling":{ceiling},"failed":{chain:?}}}"#
                    ));
                }
            }
        }
    }
    let options = WorkloadOptions { passes: 1, ..options };
    let trace = Workload::OverlayCore.generate(&options)?;
    let (store, _) = Store::new(card, None, live + live / 4)?;
    for (pattern, room) in Pattern::ALL.into_iter().zip(&rooms) {
        let host = pass(card, &store, &trace, pattern, true)?;
        print(&row("host", pattern, live, 0, &host, room));
    }
    Ok(())
}

fn print(row: &str) {
    println!("{row}");
}

fn row(
    mode: &str,
    pattern: Pattern,
    live: u64,
    ceiling: u64,
    outcome: &Outcome,
    room: &Outcome,
) -> String {
    let Outcome { seconds, sum, moved: (out, back), on_host } = *outcome;
    let (name, equal) = (pattern.name(), sum == room.sum);
    let link = (out + back) as f64 / 52e9;
    let bound = seconds / (room.seconds + link + on_host as f64 / 52e9);
    let slowdown = seconds / room.seconds;
    format!(
        concat!(
            r#"{{"part":"overlay","mode":"{}","pattern":"{}","live":{},"ceiling":{},"#,
            r#""seconds":{:.4},"slowdown":{:.2},"moved_out":{},"moved_back":{},"#,
            r#""used_on_host":{},"over_room_and_link":{:.2},"results_equal":{},"sum":"{:016x}"}}"#
        ),
        mode, name, live, ceiling, seconds, slowdown, out, back, on_host, bound, equal, sum
    )
}

/// The trace; what is measured is its last pass.
fn pass(
    card: &mut Card,
    store: &Store,
    trace: &Trace,
    pattern: Pattern,
    rests: bool,
) -> Answer<Outcome> {
    let (arrays, operands) = (HashMap::new(), Operands::default());
    let (made, on_host, seconds) = (0, 0, 0.0);
    let mut run = Run { card, store, pattern, rests, arrays, operands, made, on_host, seconds };
    let (mut before, mut started) = (store.spill.counts(), Instant::now());
    for event in trace.events() {
        match *event {
            Event::Mark(Mark::Pass) => {
                run.card.take_sum()?;
                (run.made, run.on_host, run.seconds) = (0, 0, 0.0);
                (before, started) = (store.spill.counts(), Instant::now());
            }
            Event::Allocate { slot, size, label, .. } => run.make(slot, size, label)?,
            Event::Free { slot, .. } => run.free(slot)?,
            _ => {}
        }
    }
    let Run { card, on_host, seconds, .. } = run;
    card.synchronize()?;
    let seconds = if rests { seconds } else { started.elapsed().as_secs_f64() };
    let after = store.spill.counts();
    let moved =
        (after.demoted_bytes - before.demoted_bytes, after.promoted_bytes - before.promoted_bytes);
    Ok(Outcome { seconds, sum: card.take_sum()?, moved, on_host })
}

impl Run<'_> {
    fn make(&mut self, slot: u32, size: u64, label: Label) -> Answer<()> {
        let array = if self.rests {
            let buffer = self.store.plain(self.card, size)?;
            self.store.put_on_host(self.card, &buffer)?;
            Array::OnHost(buffer, size)
        } else {
            Array::Leased(self.store.buffer(self.card, size)?, size)
        };
        self.arrays.insert(slot, array);
        let read = self.operands.made(slot, label);
        self.made += 1;
        let seed = self.made.wrapping_mul(0x0100_0193);
        let used: Vec<u32> = read.iter().copied().chain([slot]).collect();
        self.work(&used, |run, slot_used, ptr, bytes| {
            if slot_used == slot {
                run.card.make(ptr, bytes, seed)
            } else {
                run.card.visit(ptr, bytes, run.pattern)
            }
        })
    }

    fn free(&mut self, slot: u32) -> Answer<()> {
        self.work(&[slot], |run, _, ptr, bytes| run.card.visit(ptr, bytes, run.pattern))?;
        self.operands.freed(slot);
        self.arrays.remove(&slot);
        Ok(())
    }

    /// Does something with each of these arrays, all of which are leased meanwhile.
    fn work(
        &mut self,
        used: &[u32],
        mut each: impl FnMut(&mut Self, u32, DevicePtr, u64) -> Answer<()>,
    ) -> Answer<()> {
        let started = Instant::now();
        let mut leases = Vec::new();
        for &slot in used {
            let array = self.arrays.get(&slot).ok_or("an array is used that is not live")?;
            let (ptr, bytes) = match array {
                Array::Leased(buffer, bytes) => {
                    let lease = buffer.lease(self.card.stream.vmem())?;
                    if !buffer.is_on_device() {
                        self.on_host += bytes;
                    }
                    let ptr = lease.ptr();
                    leases.push(lease);
                    (ptr, *bytes)
                }
                Array::OnHost(buffer, bytes) => {
                    self.on_host += bytes;
                    (SpillMemory::ptr(buffer), *bytes)
                }
            };
            if let Some(ptr) = ptr {
                each(self, slot, ptr, bytes)?;
            }
        }
        drop(leases);
        if self.rests {
            self.card.synchronize()?;
            self.seconds += started.elapsed().as_secs_f64();
        }
        Ok(())
    }
}
