//! The overlay on its way.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use vmem_adaptors::{MayRest, Spill, Spillable};
use vmem_core::{
    BoxedError, Contents, DeviceBuffer, DevicePtr, MemoryResource, Residency as _, Stream,
};
use vmem_pool::PoolHandle;
use vmem_sim::{Kernel, SimDevice};

use super::Reading;
use super::plan::{Plan, Step};

/// Where arrays are while they are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Leased,
    /// In the host's memory, all of them.
    OnHost,
}

type Buffer = DeviceBuffer<MayRest<Arc<dyn MemoryResource>>>;

enum Array {
    Leased(Spillable<Buffer>),
    OnHost(Buffer),
}

pub(super) struct Run {
    pub(super) device: Arc<SimDevice>,
    pub(super) pool: PoolHandle,
    pub(super) spill: Spill,
    pub(super) memory: MayRest<Arc<dyn MemoryResource>>,
    pub(super) stream: Stream,
    pub(super) mode: Mode,
    pub(super) reading: Reading,
}

/// What a pass came to, besides what the pool and the leases count.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Passed {
    /// Virtual time while kernels ran, and leases began.
    pub(super) working: Duration,
    /// Bytes of arrays that were used on the host.
    pub(super) on_host: u64,
}

impl Run {
    pub(super) fn pass(&self, plan: &Plan) -> Result<Passed, BoxedError> {
        let (mut arrays, mut passed) = (HashMap::new(), Passed::default());
        for step in &plan.steps {
            if let Step::Make { array, .. } = step {
                arrays.insert(*array, self.array(plan.sizes[*array])?);
            }
            let began = self.device.virtual_time();
            passed.on_host += self.step(step, &plan.sizes, &arrays)?;
            if self.mode == Mode::OnHost {
                self.stream.synchronize()?;
                passed.working += self.device.virtual_time().saturating_sub(began);
            }
            if let Step::Finish { array } = step {
                arrays.remove(array);
            }
        }
        self.stream.synchronize()?;
        Ok(passed)
    }

    fn array(&self, bytes: u64) -> Result<Array, BoxedError> {
        let buffer = DeviceBuffer::new(self.memory.clone(), bytes, &self.stream)?;
        if self.mode == Mode::Leased {
            return Ok(Array::Leased(self.spill.adopt(buffer)));
        }
        self.stream.synchronize()?;
        if let Some(block) = buffer.ptr().and_then(|ptr| self.pool.block_at(ptr)) {
            self.demote(block)?;
        }
        Ok(Array::OnHost(buffer))
    }

    #[expect(unsafe_code, reason = "nothing can check what is pending")]
    fn demote(&self, block: vmem_core::RawBlock) -> Result<(), BoxedError> {
        // SAFETY: the block is new, and what was on its stream is complete.
        unsafe { self.pool.demote(&[block], Contents::Kept) }?;
        Ok(())
    }

    /// Uses the step's arrays, all of them leased. Returns the bytes of those that are on the host.
    fn step(
        &self,
        step: &Step,
        sizes: &[u64],
        arrays: &HashMap<usize, Array>,
    ) -> Result<u64, BoxedError> {
        let (mut leases, mut on_host) = (Vec::new(), 0);
        for array in step.used() {
            let bytes = sizes[array];
            let (ptr, is_on_host) = match &arrays[&array] {
                Array::Leased(buffer) => {
                    let lease = buffer.lease(&self.stream)?;
                    let ptr = lease.ptr();
                    leases.push(lease);
                    (ptr, !buffer.is_on_device())
                }
                Array::OnHost(buffer) => (buffer.ptr(), true),
            };
            on_host += if is_on_host { bytes } else { 0 };
            let ptr = ptr.ok_or("an array has no memory")?;
            match step {
                Step::Make { array: made, .. } if *made == array => {
                    self.launch(Kernel::new("make").writes(ptr, bytes))?;
                }
                _ => self.read(ptr, bytes)?,
            }
        }
        Ok(on_host)
    }

    fn read(&self, ptr: DevicePtr, bytes: u64) -> Result<(), BoxedError> {
        self.reading.kernels(ptr, bytes).try_for_each(|kernel| self.launch(kernel))
    }

    #[expect(unsafe_code, reason = "nothing can check what a kernel touches")]
    fn launch(&self, kernel: Kernel) -> Result<(), BoxedError> {
        // SAFETY: contract, devices/handles and devices/ranges: a live stream, and a range of a live
        // buffer, which is leased or stays where it is, and frees itself on the stream after this work.
        unsafe { self.device.launch(&self.stream, kernel) }?;
        Ok(())
    }
}
