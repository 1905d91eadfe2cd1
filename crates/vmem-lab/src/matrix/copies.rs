//! Copies and fills of a stack's blocks, compared byte by byte.

use std::sync::Arc;

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use vmem_core::{BoxedError, DeviceBuffer, MemoryResource, Stream};

use super::cell::Outcome;
use super::context::{CheckContext, ROOM};

/// Below, at and above the sizes that allocators and drivers round to.
const SIZES: [usize; 8] = [1, 255, 256, 4097, 64 << 10, 1 << 20, (2 << 20) + 1, (5 << 20) + 13];

type Buffer = DeviceBuffer<Arc<dyn MemoryResource>>;

/// Bytes written from the host come back, whole and in part.
pub(super) fn host_device_host(context: &CheckContext) -> Result<Outcome, BoxedError> {
    each_size(context, |resource, bytes, stream| {
        let mut expected = bytes.to_vec();
        let mut buffer = Buffer::from_slice(resource.clone(), bytes, stream)?;
        compare(&buffer, &expected, "as written")?;
        let (start, end) = (bytes.len() / 3, bytes.len() / 3 * 2);
        expected[start..end].reverse();
        buffer.copy_from_slice(start as u64, &expected[start..end])?;
        compare(&buffer, &expected, "after its middle was written again")?;
        let mut part = vec![0; bytes.len() - start];
        buffer.copy_to_slice(start as u64, &mut part)?;
        ensure(part == expected[start..], "its end reads otherwise than the whole")
    })
}

/// A copy on the device, made on another stream, has the same bytes, and keeps them when the source
/// is overwritten and freed.
pub(super) fn device_device(context: &CheckContext) -> Result<Outcome, BoxedError> {
    let other = Stream::new(context.opened.device.clone())?;
    each_size(context, |resource, bytes, stream| {
        let mut source = Buffer::from_slice(resource.clone(), bytes, stream)?;
        let copy = source.try_clone(&other)?;
        source.fill(0..source.len(), 0xEE)?;
        let overwritten = vec![0xEE; bytes.len()];
        compare(&source, &overwritten, "after it was overwritten")?;
        drop(source);
        compare(&copy, bytes, "as a copy")
    })
}

/// A fill reaches every byte of its range and none besides.
pub(super) fn fills(context: &CheckContext) -> Result<Outcome, BoxedError> {
    each_size(context, |resource, bytes, stream| {
        let mut buffer = Buffer::from_slice(resource.clone(), bytes, stream)?;
        let mut expected = bytes.to_vec();
        let (start, end) = (bytes.len() / 4, bytes.len() - bytes.len() / 5);
        expected[start..end].fill(0xA7);
        buffer.fill(start as u64..end as u64, 0xA7)?;
        compare(&buffer, &expected, "after a part was filled")?;
        buffer.fill(0..bytes.len() as u64, 0)?;
        compare(&buffer, &vec![0; bytes.len()], "after all was filled")
    })
}

/// Runs `body` with bytes of each size.
fn each_size(
    context: &CheckContext,
    body: impl Fn(&Arc<dyn MemoryResource>, &[u8], &Stream) -> Result<(), BoxedError>,
) -> Result<Outcome, BoxedError> {
    let built = context.build(ROOM)?;
    let stream = Stream::new(context.opened.device.clone())?;
    let mut rng = SplitMix64::seed_from_u64(context.seed);
    for size in SIZES {
        let mut bytes = vec![0; size];
        rng.fill_bytes(&mut bytes);
        body(&built.resource, &bytes, &stream)
            .map_err(|error| format!("{size} B: {}", vmem_core::chain(&*error)))?;
    }
    Ok(Outcome::Passed(None))
}

fn compare(buffer: &Buffer, expected: &[u8], when: &str) -> Result<(), BoxedError> {
    let found = buffer.to_vec()?;
    ensure(found.len() == expected.len(), "its length is wrong")?;
    match found.iter().zip(expected).position(|(found, expected)| found != expected) {
        None => Ok(()),
        Some(at) => {
            let (found, expected) = (found[at], expected[at]);
            Err(format!("{when}, byte {at} is {found:#04x}, not {expected:#04x}").into())
        }
    }
}

fn ensure(condition: bool, otherwise: &str) -> Result<(), BoxedError> {
    if condition { Ok(()) } else { Err(otherwise.into()) }
}
