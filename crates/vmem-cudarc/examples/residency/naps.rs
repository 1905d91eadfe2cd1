//! Buffers of a label that sleep and wake, and two models that take turns.

use std::time::Instant;

use vmem_core::{Contents, DeviceBuffer, Label, Moved, label};
use vmem_pool::Pending;

use crate::card::{Answer, Card, Memory, Pattern, Store};

const PIECE: u64 = 512 << 20;

/// The buffers of one label.
struct Model {
    name: &'static str,
    buffers: Vec<DeviceBuffer<Memory>>,
}

impl Model {
    /// So many bytes, written.
    fn new(card: &Card, store: &Store, name: &'static str, bytes: u64) -> Answer<Self> {
        let _label = label(name);
        let mut buffers = Vec::new();
        let mut left = bytes;
        while left > 0 {
            let size = PIECE.min(left);
            let buffer = store.plain(card, size)?;
            let seed = u32::try_from(left >> 20)? ^ (u32::from(name.as_bytes()[0]) << 24);
            buffer.ptr().map_or(Ok(()), |ptr| card.make(ptr, size, seed))?;
            buffers.push(buffer);
            left -= size;
        }
        card.synchronize()?;
        Ok(Self { name, buffers })
    }

    /// Reads all of it.
    fn sum(&self, card: &mut Card) -> Answer<u64> {
        card.take_sum()?;
        for buffer in &self.buffers {
            if let Some(ptr) = buffer.ptr() {
                card.visit(ptr, buffer.len(), Pattern::Streaming)?;
            }
        }
        card.take_sum()
    }

    fn sleep(&self, store: &Store, contents: Contents) -> Answer<(Moved, f64)> {
        let started = Instant::now();
        // SAFETY: nothing is queued on the buffers until they are woken.
        let moved =
            unsafe { store.pool.sleep(Some(Label::intern(self.name)), contents, Pending::Wait) }?;
        Ok((moved, started.elapsed().as_secs_f64()))
    }

    fn wake(&self, store: &Store) -> Answer<(Moved, f64)> {
        let started = Instant::now();
        // SAFETY: as above.
        let moved = unsafe { store.pool.wake(Some(Label::intern(self.name)), Pending::Wait) }?;
        Ok((moved, started.elapsed().as_secs_f64()))
    }
}

fn line(part: &str, what: &str, moved: Moved, seconds: f64) {
    let rate = moved.copied as f64 / seconds / 1e9;
    println!(
        concat!(
            r#"{{"part":"{}","step":"{}","device_bytes":{},"copied":{},"stayed":{},"#,
            r#""seconds":{:.4},"gb_per_s":{:.2}}}"#
        ),
        part, what, moved.device, moved.copied, moved.stayed, seconds, rate
    );
}

/// So many bytes sleep and wake, with their contents twice and without them once.
pub(crate) fn sleep(card: &mut Card, bytes: u64) -> Answer<()> {
    let (store, filled) = Store::new(card, None, bytes)?;
    let before = card.free()?;
    let model = Model::new(card, &store, "weights", bytes)?;
    let awake = card.free()?;
    println!(
        r#"{{"part":"sleep","bytes":{bytes},"host_reserve_seconds":{filled:.3},"free_before":{before},"free_awake":{awake}}}"#
    );
    let sum = model.sum(card)?;
    for contents in [Contents::Kept, Contents::Kept, Contents::Discarded] {
        let (moved, seconds) = model.sleep(&store, contents)?;
        line("sleep", &format!("sleep, {contents:?}"), moved, seconds);
        let asleep = card.free()?;
        let (moved, seconds) = model.wake(&store)?;
        line("sleep", &format!("wake, {contents:?}"), moved, seconds);
        let after = card.free()?;
        let kept = contents == Contents::Discarded || model.sum(card)? == sum;
        println!(
            r#"{{"part":"sleep","contents":"{contents:?}","free_asleep":{asleep},"free_after":{after},"results_equal":{kept}}}"#
        );
    }
    drop(model);
    Ok(())
}

/// Two models of so many bytes each under a ceiling that holds one.
pub(crate) fn turns(card: &mut Card, bytes: u64) -> Answer<()> {
    let ceiling = bytes / 5 * 6;
    let (store, filled) = Store::new(card, Some(ceiling), 2 * bytes)?;
    println!(
        r#"{{"part":"turns","bytes_each":{bytes},"ceiling":{ceiling},"host_reserve_seconds":{filled:.3}}}"#
    );
    let first = Model::new(card, &store, "first", bytes)?;
    let sums = first.sum(card)?;
    first.sleep(&store, Contents::Kept)?;
    let second = Model::new(card, &store, "second", bytes)?;
    let sums = [sums, second.sum(card)?];
    let models = [first, second];
    for turn in 0..4 {
        let (wakes, sleeps) = (turn % 2, 1 - turn % 2);
        let (moved, asleep) = models[sleeps].sleep(&store, Contents::Kept)?;
        line("turns", "sleep", moved, asleep);
        let (moved, awake) = models[wakes].wake(&store)?;
        line("turns", "wake", moved, awake);
        let started = Instant::now();
        let equal = models[wakes].sum(card)? == sums[wakes];
        let (work, switch) = (started.elapsed().as_secs_f64(), asleep + awake);
        println!(
            r#"{{"part":"turns","turn":{turn},"switch_seconds":{switch:.4},"pass_seconds":{work:.4},"results_equal":{equal}}}"#
        );
    }
    Ok(())
}
