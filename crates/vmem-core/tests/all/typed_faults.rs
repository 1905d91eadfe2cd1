//! Typed memory while driver calls fail: one or two of a program, each in turn.

use std::error::Error;
use std::sync::Arc;

use vmem_core::{
    Device, DeviceMemory, DeviceScalar, DeviceVec, DriverCode, MemoryResource, PinnedBuffer,
    PinnedMemory, ResourceExt, Stream,
};
use vmem_sim::SimDevice;

use crate::common::sim;

fn values(count: u32) -> Vec<u32> {
    (0..count).map(|n| n.wrapping_mul(2_654_435_761)).collect()
}

/// What comes back without an error is right, whatever failed before.
fn program(device: &Arc<SimDevice>) -> Result<(), Box<dyn Error>> {
    let (first, second) = (Stream::new(device.clone())?, Stream::new(device.clone())?);
    let memory: Arc<dyn MemoryResource> = DeviceMemory::new(device.clone()).into_dyn();
    let pinned = PinnedMemory::new(device.clone())?.into_dyn();

    let mut a = DeviceVec::filled(memory.clone(), 0x0102_0304_u32, 100, &first)?;
    let mut b = DeviceVec::<u32>::uninit(memory.clone(), 100, &second)?;
    let host = PinnedBuffer::from_slice(pinned.clone(), &values(100), &second)?;
    let upload = b.copy_from_pinned(host, ..)?;
    let copied = a.extend_from(&b);
    // The source is written and goes whatever became of the copy.
    let filled = b.fill(7);
    let upload = upload.wait();
    if copied.is_ok() {
        let mut expected = vec![0x0102_0304; 100];
        expected.extend(values(100));
        assert_eq!(a.to_vec()?, expected);
    }
    let mut host = upload?;
    assert_eq!(*host, values(100));
    host.fill(9);
    let there = b.try_clone(&first)?;
    drop(b);
    let download = there.copy_to_pinned(host, ..)?;
    drop(there);
    let host = download.wait()?;
    if filled.is_ok() {
        assert_eq!(*host, [7; 100]);
    }
    drop(a.copy_from_pinned(PinnedBuffer::zeroed(pinned, 200, &second)?, ..)?);
    assert_eq!(a.to_vec()?, [0; 200]);
    let mut scalar = DeviceScalar::new(memory, 1.5_f64, &first)?;
    scalar.set_value(2.5)?;
    assert_eq!(scalar.value()?, 2.5);
    copied?;
    filled?;
    Ok(())
}

/// Runs the program with these calls failing, counted from one. Whether all of them were reached.
fn run(failing: &[u64], seed: u64) -> bool {
    let device = sim(seed);
    for &nth in failing {
        device.fail_call(None, nth, DriverCode::UNKNOWN);
    }
    // An error may hold a buffer.
    let went_well = program(&device).is_ok();
    let reached = failing.iter().all(|&nth| nth <= device.calls().total());
    device.clear_failures();
    device.assert_clean();
    let (leaks, dropped) = (device.leaks(), device.base().drop_failures());
    let leaked = leaks.plain.count + leaks.pinned.count;
    assert!(leaked <= dropped.count(), "{failing:?}: {leaks:?}, {dropped:?}");
    assert!(!failing.is_empty() || (went_well && leaked == 0));
    reached
}

#[test]
fn every_call_of_a_program_may_fail_and_nothing_dangles_or_leaks_unseen() {
    assert!(run(&[], 0));
    let calls = (1..).take_while(|&nth| run(&[nth], nth % 4)).count();
    assert!(calls > 60, "{calls}");
}

#[test]
fn every_two_calls_of_a_program_may_fail_and_nothing_dangles_or_leaks_unseen() {
    let mut first = 1;
    while run(&[first], 0) {
        let mut second = first + 1;
        while run(&[first, second], (first + second) % 4) {
            second += 1;
        }
        first += 1;
    }
    assert!(first > 60, "{first}");
}
