//! `DeviceBuffer` over the resource.

use vmem_core::author::StreamExt;
use vmem_core::{DeviceBuffer, ResourceExt, Stream};

use super::{Stop, Subject};
use crate::finding::ensure;

/// RMM 78-84: bytes survive growth, shrinking, copies and a change of home.
pub(super) fn buffers_keep_their_bytes(subject: &Subject<'_>) -> Result<(), Stop> {
    let (stream, other) = (subject.stream()?, subject.stream()?);
    let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let mut buffer = DeviceBuffer::from_slice(subject.resource, &bytes, &stream)?;
    buffer.resize(1 << 20)?;
    buffer.fill(10_000..1 << 20, 0xee)?;
    let copy = buffer.try_clone(&other)?;
    buffer.resize(10_000)?;
    buffer.shrink_to_fit()?;
    buffer.set_stream(&other)?;
    ensure!(buffer.capacity() == 10_000, "{} B kept", buffer.capacity());
    ensure!(buffer.to_vec()? == bytes, "shrinking changed the bytes");
    drop(buffer);
    let copied = copy.to_vec()?;
    let (head, tail) = copied.split_at(bytes.len());
    ensure!(head == bytes, "a copy has other bytes");
    ensure!(tail.iter().all(|&b| b == 0xee), "a copy has other new bytes");
    drop(copy);
    subject.probe.check_invariants();
    subject.still_works(&stream)
}

/// A buffer dropped while another stream still uses it is not handed out again before that use.
pub(super) fn buffers_wait_for_other_streams(subject: &Subject<'_>) -> Result<(), Stop> {
    let (home, user, next) = (subject.stream()?, subject.stream()?, subject.stream()?);
    for round in 0..16 {
        let size = 4096 << (round % 8);
        let mut results = subject.resource.buffer(size, &user)?;
        let mut buffer = subject.resource.buffer(size, &home)?;
        buffer.fill(0..size, 0x11)?;
        // Pending at the drop are by turns the read alone, and the write before it too.
        if round % 2 == 0 {
            home.synchronize()?;
        }
        buffer.make_ready_on(&user)?;
        copy(&buffer, &results, &user)?;
        buffer.record_use(&user)?;
        drop(buffer);
        let mut taken = subject.resource.buffer(size, &next)?;
        taken.fill(0..size, 0x22)?;
        next.synchronize()?;
        results.set_stream(&user)?;
        ensure!(
            results.to_vec()?.iter().all(|&b| b == 0x11),
            "memory was reused under a recorded use"
        );
        ensure!(
            taken.to_vec()?.iter().all(|&b| b == 0x22),
            "a dropped buffer's work reached the next owner"
        );
    }
    subject.probe.check_invariants();
    Ok(())
}

/// RMM 6, 46: no bytes, no block.
pub(super) fn an_empty_buffer_asks_for_nothing(subject: &Subject<'_>) -> Result<(), Stop> {
    let stream = subject.stream()?;
    let live = subject.probe.live_bytes();
    let mut buffer = subject.resource.buffer(0, &stream)?;
    ensure!(buffer.ptr().is_none(), "an empty buffer holds a block");
    ensure!(subject.probe.live_bytes() == live, "an empty buffer is live memory");
    buffer.resize(1)?;
    ensure!(buffer.ptr().is_some(), "a buffer of one byte holds nothing");
    buffer.resize(0)?;
    buffer.shrink_to_fit()?;
    ensure!(buffer.ptr().is_none(), "an emptied buffer holds a block");
    Ok(())
}

fn copy(
    from: &DeviceBuffer<&dyn vmem_core::MemoryResource>,
    to: &DeviceBuffer<&dyn vmem_core::MemoryResource>,
    stream: &Stream,
) -> Result<(), Stop> {
    let (Some(source), Some(target)) = (from.ptr(), to.ptr()) else {
        return Ok(());
    };
    stream.with_raw("copy", |device, raw| {
        // SAFETY: contract, devices/handles, devices/ranges and devices/threads: two live blocks of
        // that size, a valid stream.
        unsafe { device.copy_within(target, source, from.len(), raw) }
    })?;
    Ok(())
}
