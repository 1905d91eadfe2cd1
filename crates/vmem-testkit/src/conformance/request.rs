//! What a request asks for besides size and alignment, the device, the name, and forwarding.

use std::sync::Arc;

use vmem_core::{AccessClass, BlockLayout, Label, MemoryResource, Request, Stream};

use super::{Stop, Subject};
use crate::TrackedBlock;
use crate::finding::ensure;

/// A block keeps the label it was requested under, whatever the thread's label is by then, and
/// names one resource as its owner for as long as it lives.
pub(super) fn blocks_carry_the_request(subject: &Subject<'_>) -> Result<(), Stop> {
    let stream = subject.stream()?;
    let layout = BlockLayout::new(4096)?;
    let explicit = Label::intern("conformance/explicit");
    let request = Request::new(layout, &stream).with_label(explicit);
    let first = TrackedBlock::allocate(subject.resource, &request)?;
    let second = {
        let _scope = vmem_core::label("conformance/scoped");
        subject.allocate_as(layout, &stream)?
    };
    let third = subject.allocate_as(layout, &stream)?;
    let labels = [&first, &second, &third].map(|block| block.label().as_str());
    let expected = ["conformance/explicit", "conformance/scoped", Label::current().as_str()];
    ensure!(labels == expected, "labels {labels:?}, not {expected:?}");
    let owners = [&first, &second, &third].map(|block| block.block().owner());
    ensure!(
        owners[0] == owners[1] && owners[1] == owners[2],
        "one resource issued blocks as {owners:?}"
    );
    for block in [first, second, third] {
        subject.free(block, &stream)?;
    }
    Ok(())
}

/// Access classes and the no-retry mark change nothing about a request that can be served.
pub(super) fn hints_are_accepted(subject: &Subject<'_>) -> Result<(), Stop> {
    let stream = subject.stream()?;
    let layout = BlockLayout::new(100 << 10)?;
    let plain = Request::new(layout, &stream);
    let requests = [
        plain.clone().with_access(AccessClass::Streaming),
        plain.clone().with_access(AccessClass::RandomReuse),
        plain.clone().with_access(AccessClass::WriteOnce),
        plain.without_retry(),
    ];
    for request in &requests {
        let mut block = TrackedBlock::allocate(subject.resource, request)?;
        block.write(&stream)?;
        subject.verify_and_free(block, &stream)?;
    }
    Ok(())
}

/// The device that the resource names is the one whose streams it takes and whose work reaches its
/// blocks, and stays the same.
pub(super) fn the_named_device_is_that_of_the_blocks(subject: &Subject<'_>) -> Result<(), Stop> {
    let device = subject.device().clone();
    let stream = Stream::new(device.clone())?;
    let mut block = subject.written(4096, &stream)?;
    block.verify(&stream)?;
    let named = subject.device().id();
    ensure!(named == device.id(), "it named {}, then {named}", device.id());
    subject.free(block, &stream)
}

/// What it prints is one line that is not empty.
pub(super) fn the_resource_prints_as_one_line(subject: &Subject<'_>) -> Result<(), Stop> {
    let printed = subject.resource.to_string();
    ensure!(printed.lines().count() == 1, "it prints as {printed:?}");
    Ok(())
}

/// RMM 3, 29: a block allocated through one way of holding the resource is freed through another.
pub(super) fn a_forwarded_resource_is_the_same_resource(subject: &Subject<'_>) -> Result<(), Stop> {
    let stream = subject.stream()?;
    let boxed: Box<dyn MemoryResource + '_> = Box::new(subject.resource);
    let shared: Arc<dyn MemoryResource + '_> = Arc::new(&boxed);
    let layout = BlockLayout::new(10_000)?;
    let request = Request::new(layout, &stream);
    let holders: [&dyn MemoryResource; 3] = [subject.resource, &boxed, &shared];
    for (i, holder) in holders.iter().enumerate() {
        let mut block = TrackedBlock::allocate(*holder, &request)?;
        block.write(&stream)?;
        block.verify(&stream)?;
        block.free(holders[(i + 1) % holders.len()], &stream)?;
        ensure!(
            holder.capabilities() == subject.resource.capabilities(),
            "forwarding changed the capabilities"
        );
        ensure!(holder.device().id() == subject.device().id(), "forwarding changed the device");
    }
    Ok(())
}
