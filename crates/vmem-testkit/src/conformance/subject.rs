//! What the suite is run on, and the steps that its checks are made of.

use std::sync::Arc;

use vmem_core::{BlockLayout, Device, MemoryResource, Request, Stream};

use super::Stop;
use crate::finding::ensure;
use crate::rng::Rng;
use crate::{DeviceControl, Probe, TrackedBlock};

/// A resource to be held to the contract, and within which bounds.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// The resource.
    pub resource: &'a dyn MemoryResource,
    /// A device that is not the resource's, for the checks that need one; without it they are
    /// skipped.
    pub other_device: Option<Arc<dyn Device>>,
    /// The requested bytes that the suite may hold at once, and that the resource must be able to
    /// serve in blocks of at most half of it: at least [`Subject::SMALLEST_BUDGET`].
    pub budget: u64,
    /// The seed of all random choices.
    pub seed: u64,
    /// A look inside the resource.
    pub probe: &'a dyn Probe,
    /// Control over the device, for programs.
    pub device_control: &'a dyn DeviceControl,
}

impl<'a> Subject<'a> {
    /// The smallest budget that the checks can do with, in bytes: 8 MiB.
    pub const SMALLEST_BUDGET: u64 = 8 << 20;

    /// `resource` on its device, with 64 MiB, no probe and no control of the device.
    pub fn new(resource: &'a dyn MemoryResource) -> Self {
        let (probe, device_control) = (&(), &());
        let budget = 64 << 20;
        Self { resource, other_device: None, budget, seed: 0, probe, device_control }
    }

    /// The device of its blocks.
    pub fn device(&self) -> &'a Arc<dyn Device> {
        self.resource.device()
    }

    /// A new stream.
    pub(super) fn stream(&self) -> Result<Stream, Stop> {
        Ok(Stream::new(self.device().clone())?)
    }

    /// Random numbers of a check's own.
    pub(super) fn rng(&self, salt: u64) -> Rng {
        Rng::new(self.seed ^ salt.rotate_left(32))
    }

    /// A block of `size` bytes at the default alignment, contents unknown.
    pub(super) fn allocate(&self, size: u64, stream: &Stream) -> Result<TrackedBlock, Stop> {
        self.allocate_as(BlockLayout::new(size)?, stream)
    }

    /// A block that is checked to be as asked, contents unknown.
    pub(super) fn allocate_as(
        &self,
        layout: BlockLayout,
        stream: &Stream,
    ) -> Result<TrackedBlock, Stop> {
        let block = TrackedBlock::allocate(self.resource, &Request::new(layout, stream))?;
        self.probe.check_invariants();
        ensure!(block.layout() == layout, "asked for {layout}, got {}", block.layout());
        ensure!(
            block.ptr().is_aligned_to(layout.alignment()),
            "asked for {layout}, got a block at {}",
            block.ptr()
        );
        Ok(block)
    }

    /// A block whose bytes are known, with the writing left pending.
    pub(super) fn written(&self, size: u64, stream: &Stream) -> Result<TrackedBlock, Stop> {
        let mut block = self.allocate(size, stream)?;
        block.write(stream)?;
        Ok(block)
    }

    /// Gives a block back.
    pub(super) fn free(&self, block: TrackedBlock, stream: &Stream) -> Result<(), Stop> {
        block.free(self.resource, stream)?;
        self.probe.check_invariants();
        Ok(())
    }

    /// Verifies a block's bytes, then gives it back.
    pub(super) fn verify_and_free(
        &self,
        mut block: TrackedBlock,
        stream: &Stream,
    ) -> Result<(), Stop> {
        block.verify(stream)?;
        self.free(block, stream)
    }

    /// Whether the resource still does its work.
    pub(super) fn still_works(&self, stream: &Stream) -> Result<(), Stop> {
        let first = self.written(64 << 10, stream)?;
        let second = self.written(1, stream)?;
        self.verify_and_free(first, stream)?;
        self.verify_and_free(second, stream)
    }

    pub(super) fn failed_drops(&self) -> u64 {
        self.device().base().drop_failures().count()
    }

    pub(super) fn nothing_was_dropped_badly(&self, before: u64) -> Result<(), Stop> {
        let failures = self.device().base().drop_failures();
        ensure!(
            failures.count() == before,
            "{} drops failed; the device's first ever: {}",
            failures.count() - before,
            failures.first().map_or_else(String::new, |f| f.to_string())
        );
        Ok(())
    }

    /// What is live may not differ from before, if the probe knows.
    pub(super) fn nothing_stayed_live(&self, before: Option<u64>) -> Result<(), Stop> {
        let after = self.probe.live_bytes();
        ensure!(after == before, "{before:?} B were live before, {after:?} B are live after");
        Ok(())
    }
}
