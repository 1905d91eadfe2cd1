//! Device 0, the kernels that run on it, and pools whose buffers may rest on the host.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use cudarc::driver::{CudaContext, CudaFunction, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;
use vmem_adaptors::{MayRest, Spill, Spillable};
use vmem_core::author::StreamExt;
use vmem_core::{
    Device, DeviceBuffer, DeviceMemory, DevicePtr, MemoryResource, Residency, ResourceExt,
};
use vmem_cuda::{CudaDevice, driver};
use vmem_cudarc::{SharedStream, VmemSlice};
use vmem_pool::{Pool, PoolConfig, PoolHandle, VirtualArena};

pub(crate) type Answer<T> = Result<T, Box<dyn Error>>;
pub(crate) type Memory = Arc<dyn MemoryResource>;
pub(crate) type Buffer = Spillable<DeviceBuffer<Memory>>;

/// How a kernel reads an array. At random and by chasing it reads a quarter as many words as there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    Streaming,
    Random,
    Chasing,
}

impl Pattern {
    pub(crate) const ALL: [Self; 3] = [Self::Streaming, Self::Random, Self::Chasing];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Streaming => "streaming",
            Self::Random => "random",
            Self::Chasing => "chasing",
        }
    }

    /// The words that it reads of `n`.
    const fn count(self, n: u32) -> u32 {
        match self {
            Self::Streaming => n,
            Self::Random | Self::Chasing => n.div_ceil(4),
        }
    }
}

/// Threads that chase, at most.
const CHASERS: u32 = 132 * 128;

/// Hops of each, at most: more would go in circles.
const HOPS: u32 = 1024;

/// Device 0 and what runs on it.
pub(crate) struct Card {
    pub(crate) device: Arc<CudaDevice>,
    pub(crate) stream: SharedStream,
    /// None over the software driver, which runs no kernels.
    kernels: Option<Kernels>,
    sum: VmemSlice<u64, DeviceMemory>,
}

struct Kernels {
    make: CudaFunction,
    visit: CudaFunction,
    chase: CudaFunction,
}

impl Card {
    pub(crate) fn open() -> Answer<Self> {
        let context = CudaContext::new(0)?;
        let device = vmem_cudarc::open(&context)?;
        let kernels = if driver()?.simulated {
            None
        } else {
            let module = context.load_module(Ptx::from_src(include_str!("kernels.ptx")))?;
            let of = |name| module.load_function(name);
            Some(Kernels { make: of("make")?, visit: of("visit")?, chase: of("chase")? })
        };
        let theirs = context.new_stream()?;
        let stream = SharedStream::new(&device, &theirs)?;
        let sum = VmemSlice::alloc_zeros(DeviceMemory::new(device.clone()), 1, &stream)?;
        Ok(Self { device, stream, kernels, sum })
    }

    /// Bytes that are free as the driver tells it.
    pub(crate) fn free(&self) -> Answer<u64> {
        Ok(self.device.memory_info()?.free)
    }

    pub(crate) fn synchronize(&self) -> Answer<()> {
        Ok(self.stream.vmem().synchronize()?)
    }

    /// Queues a kernel that writes an array of `bytes` bytes. Over the software driver it is a fill.
    pub(crate) fn make(&self, ptr: DevicePtr, bytes: u64, seed: u32) -> Answer<()> {
        let Some(kernels) = &self.kernels else {
            let value = u8::try_from(seed % 251)?;
            return Ok(self.stream.vmem().with_raw("fill", |device, raw| {
                // SAFETY: contract, devices/handles and devices/ranges: the caller's live block.
                unsafe { device.fill(ptr, value, bytes, raw) }
            })?);
        };
        let (words, n) = (ptr.get(), u32::try_from(bytes / 4)?);
        let mut launch = self.stream.cudarc().launch_builder(&kernels.make);
        launch.arg(&words).arg(&n).arg(&seed);
        // SAFETY: the arguments are the kernel's, and it stays inside the array.
        unsafe { launch.launch(grid(1056, 256)) }?;
        Ok(())
    }

    /// Queues a kernel that reads an array and adds to the sum. Over the software driver the host reads
    /// its first and its last byte.
    pub(crate) fn visit(&mut self, ptr: DevicePtr, bytes: u64, pattern: Pattern) -> Answer<()> {
        let Self { kernels: Some(kernels), stream, sum, .. } = self else {
            return self.look(ptr, bytes);
        };
        let (words, n) = (ptr.get(), u32::try_from(bytes / 4)?);
        let count = pattern.count(n);
        if pattern == Pattern::Chasing {
            let threads = CHASERS.min((count / 64).max(128));
            let hops = (count / threads).clamp(1, HOPS);
            let mut launch = stream.cudarc().launch_builder(&kernels.chase);
            launch.arg(&words).arg(&n).arg(&hops).arg(sum);
            // SAFETY: as above; a word that says no place in the array is taken for the last one.
            unsafe { launch.launch(grid(threads.div_ceil(128), 128)) }?;
        } else {
            let scattered = u32::from(pattern == Pattern::Random);
            let mut launch = stream.cudarc().launch_builder(&kernels.visit);
            launch.arg(&words).arg(&n).arg(&count).arg(&scattered).arg(sum);
            // SAFETY: as above.
            unsafe { launch.launch(grid(1056, 256)) }?;
        }
        Ok(())
    }

    fn look(&mut self, ptr: DevicePtr, bytes: u64) -> Answer<()> {
        let last = ptr.checked_add(bytes - 1).ok_or("the array ends nowhere")?;
        let mut sum = self.sum()?;
        for at in [ptr, last] {
            let mut byte = [0];
            self.stream.vmem().with_raw("look", |device, raw| {
                let to = byte.as_mut_ptr();
                // SAFETY: contract, devices/handles, devices/ranges and devices/host-memory: a byte of
                // the caller's live block; the copy is waited for below.
                unsafe { device.copy_to_host(to, at, 1, raw) }
            })?;
            self.synchronize()?;
            sum += u64::from(byte[0]);
        }
        Ok(self.stream.cudarc().memcpy_htod(&[sum], &mut self.sum)?)
    }

    /// Waits, and returns what was added up so far.
    pub(crate) fn sum(&self) -> Answer<u64> {
        self.synchronize()?;
        Ok(self.stream.cudarc().clone_dtoh(&self.sum)?[0])
    }

    /// Waits, and returns what was added up since the last time.
    pub(crate) fn take_sum(&mut self) -> Answer<u64> {
        let sum = self.sum()?;
        self.stream.cudarc().memset_zeros(&mut self.sum)?;
        Ok(sum)
    }
}

const fn grid(blocks: u32, threads: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: 0 }
}

/// A pool whose memory may rest on the host, and its buffers that spill.
pub(crate) struct Store {
    pub(crate) pool: PoolHandle,
    pub(crate) memory: Memory,
    pub(crate) spill: Spill,
}

impl Store {
    /// With a ceiling or without, and so many bytes of the host's kept ready. Returns the seconds that
    /// those took, too.
    pub(crate) fn new(card: &Card, ceiling: Option<u64>, host: u64) -> Answer<(Self, f64)> {
        let config = PoolConfig::default().with_ceiling(ceiling);
        let pool = Pool::new(VirtualArena::new(card.device.clone())?, config)?;
        let handle = pool.handle();
        let spill = Spill::new(Arc::new(handle.clone()));
        let started = Instant::now();
        handle.fill_host_reserve(host)?;
        let filled = started.elapsed().as_secs_f64();
        let memory: Memory = Arc::new(MayRest::new(pool.into_dyn()));
        Ok((Self { pool: handle, memory, spill }, filled))
    }

    /// Memory for an array; makes room for it if there is none, and if that takes it, waits.
    pub(crate) fn plain(&self, card: &Card, bytes: u64) -> Answer<DeviceBuffer<Memory>> {
        let mut waited = false;
        loop {
            let made = DeviceBuffer::new(self.memory.clone(), bytes, card.stream.vmem());
            match made {
                Err(error) if error.kind().is_exhaustion() => {
                    if self.spill.demote(bytes) == 0 {
                        if waited {
                            return Err(error.into());
                        }
                        card.synchronize()?;
                        waited = true;
                    }
                }
                made => return Ok(made?),
            }
        }
    }

    pub(crate) fn buffer(&self, card: &Card, bytes: u64) -> Answer<Buffer> {
        Ok(self.spill.adopt(self.plain(card, bytes)?))
    }

    /// Moves a buffer's memory to the host, when all work is done.
    pub(crate) fn put_on_host(&self, card: &Card, buffer: &DeviceBuffer<Memory>) -> Answer<()> {
        card.synchronize()?;
        let Some(block) = buffer.ptr().and_then(|ptr| self.pool.block_at(ptr)) else {
            return Ok(());
        };
        // SAFETY: all work is complete, and none is queued meanwhile.
        unsafe { self.pool.demote(&[block], vmem_core::Contents::Kept) }?;
        Ok(())
    }
}
