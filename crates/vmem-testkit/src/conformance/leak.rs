//! Implementing 5: leaking, not dangling.

use vmem_core::{BlockLayout, MemoryResource, Request, Stream};

use crate::finding::ensure;
use crate::{Finding, TrackedBlock};

/// Drops a resource while blocks of it are live: they must stay valid, bytes included, and the leak
/// must be counted among the device's failed drops.
///
/// Apart from the other [checks](super::CHECKS) because it consumes the resource, of which
/// `resource` must be the only owner. It leaks about 1 MiB.
///
/// # Panics
/// If the resource takes live blocks with it, or keeps quiet about them.
pub fn check_leak(resource: impl MemoryResource) {
    if let Err(finding) = leak(resource) {
        panic!("the contract is broken: {finding}");
    }
}

fn leak(resource: impl MemoryResource) -> Result<(), Finding> {
    let device = resource.device().clone();
    let stream = Stream::new(device.clone())?;
    let mut blocks = Vec::new();
    for size in [1, 4096, 1 << 20] {
        let request = Request::new(BlockLayout::new(size)?, &stream);
        let mut block = TrackedBlock::allocate(&resource, &request)?;
        block.write(&stream)?;
        blocks.push(block);
    }
    let failures = device.base().drop_failures();
    let before = failures.count();
    drop(resource);
    ensure!(failures.count() > before, "live blocks leaked, and nothing was reported");
    for block in &mut blocks {
        block.verify(&stream)?;
    }
    Ok(())
}
