//! Kernels: what they touch, how long they take, what they do to the bytes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use vmem_core::DevicePtr;

use crate::memory::{Physicals, Piece};
use crate::violation::{Violation, ViolationKind};

/// What a kernel does when it runs. Called under the device's lock: it must not call the device.
pub(crate) type Body = Arc<dyn Fn(&mut KernelMemory<'_>) + Send + Sync>;

/// In which order a kernel touches its ranges, which decides how fast it reaches them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Pattern {
    /// One byte after the other.
    #[default]
    Sequential,
    /// Four bytes here, four bytes there.
    Random,
}

/// Work for a simulated device: the ranges it reads and writes, and what it does.
///
/// The ranges are what the checker goes by. A kernel whose body is not given touches its ranges
/// without changing a byte.
///
/// ```
/// use vmem_core::{BlockLayout, DeviceMemory, MemoryResource, ResourceExt, Stream};
/// use vmem_sim::{Kernel, SimDevice};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(1 << 20);
/// let stream = Stream::new(device.clone())?;
/// let memory = DeviceMemory::new(device.clone());
/// let block = memory.allocate_on(BlockLayout::new(1024)?, &stream)?;
/// // SAFETY: the block is live, and freed after both kernels in stream order.
/// unsafe {
///     device.launch(&stream, Kernel::write_pattern(block.ptr(), 1024, 7))?;
///     device.launch(&stream, Kernel::check_pattern(block.ptr(), 1024, 7))?;
///     memory.deallocate(block, &stream)?;
/// }
/// device.assert_clean();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Kernel {
    pub(crate) pattern: Pattern,
    pub(crate) name: &'static str,
    pub(crate) reads: Vec<(u64, u64)>,
    pub(crate) writes: Vec<(u64, u64)>,
    pub(crate) duration: Duration,
    pub(crate) body: Option<Body>,
}

impl Kernel {
    /// A kernel that touches nothing and takes no time beyond its launch.
    pub const fn new(name: &'static str) -> Self {
        Self {
            pattern: Pattern::Sequential,
            name,
            reads: Vec::new(),
            writes: Vec::new(),
            duration: Duration::ZERO,
            body: None,
        }
    }

    /// Makes the kernel touch its ranges in this order.
    #[must_use]
    pub fn touching(self, pattern: Pattern) -> Self {
        Self { pattern, ..self }
    }

    /// Adds a read of `bytes` bytes at `ptr`.
    #[must_use]
    pub fn reads(mut self, ptr: DevicePtr, bytes: u64) -> Self {
        self.reads.push((ptr.get(), bytes));
        self
    }

    /// Adds a write of `bytes` bytes at `ptr`.
    #[must_use]
    pub fn writes(mut self, ptr: DevicePtr, bytes: u64) -> Self {
        self.writes.push((ptr.get(), bytes));
        self
    }

    /// Makes the kernel run for `duration` of virtual time beyond the cost of its ranges.
    #[must_use]
    pub fn taking(self, duration: Duration) -> Self {
        Self { duration, ..self }
    }

    /// Sets a `body`, which is called with the kernel's memory when it runs. The body must not call
    /// the device. It is not called on a device that stores no bytes.
    #[must_use]
    pub fn with_body(self, body: impl Fn(&mut KernelMemory<'_>) + Send + Sync + 'static) -> Self {
        Self { body: Some(Arc::new(body)), ..self }
    }

    /// Writes bytes that depend on `tag` and their offset.
    pub fn write_pattern(ptr: DevicePtr, bytes: u64, tag: u64) -> Self {
        Self::new("write_pattern").writes(ptr, bytes).with_body(move |memory| {
            for_chunks(bytes, |offset, len| {
                let chunk: Vec<u8> = (offset..offset + len).map(|i| pattern(tag, i)).collect();
                memory.write(after(ptr, offset), &chunk);
            });
        })
    }

    /// Checks that bytes are as [`write_pattern`](Self::write_pattern) left them, and reports
    /// [`WrongBytes`](ViolationKind::WrongBytes) if not.
    pub fn check_pattern(ptr: DevicePtr, bytes: u64, tag: u64) -> Self {
        Self::new("check_pattern")
            .reads(ptr, bytes)
            .with_body(move |memory| {
                let mut wrong = None;
                for_chunks(bytes, |offset, len| {
                    let mut chunk = vec![0; usize::try_from(len).expect("a chunk is small")];
                    memory.read(after(ptr, offset), &mut chunk);
                    let differs = |&(&byte, i): &(&u8, u64)| byte != pattern(tag, i);
                    let first = chunk.iter().zip(offset..).find(differs);
                    wrong = wrong.or(first.map(|(&byte, at)| (at, byte)));
                });
                if let Some((at, byte)) = wrong {
                    let expected = pattern(tag, at);
                    let detail = format!(
                        "byte {at} of {bytes} at {ptr} is {byte:#04x}, tag {tag} expects {expected:#04x}"
                    );
                    memory.report(detail);
                }
            })
    }

    /// Adds one to every byte, wrapping.
    pub fn add_one(ptr: DevicePtr, bytes: u64) -> Self {
        Self::new("add_one").reads(ptr, bytes).writes(ptr, bytes).with_body(move |memory| {
            for_chunks(bytes, |offset, len| {
                let mut chunk = vec![0; usize::try_from(len).expect("a chunk is small")];
                memory.read(after(ptr, offset), &mut chunk);
                chunk.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
                memory.write(after(ptr, offset), &chunk);
            });
        })
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel")
            .field("name", &self.name)
            .field("reads", &self.reads)
            .field("writes", &self.writes)
            .field("duration", &self.duration)
            .finish_non_exhaustive()
    }
}

/// The memory of a running kernel: its declared ranges.
#[derive(Debug)]
pub struct KernelMemory<'a> {
    pub(crate) name: &'static str,
    pub(crate) physicals: &'a mut Physicals,
    pub(crate) reads: &'a [Piece],
    pub(crate) writes: &'a [Piece],
    pub(crate) reports: Vec<Violation>,
}

impl KernelMemory<'_> {
    /// Reads from a range that the kernel declared, for reading or writing. An undeclared range is
    /// reported and leaves `bytes` as they are.
    pub fn read(&mut self, ptr: DevicePtr, bytes: &mut [u8]) {
        let len = bytes.len() as u64;
        let declared =
            find(self.reads, ptr.get(), len).or_else(|| find(self.writes, ptr.get(), len));
        let Some(pieces) = declared else {
            return self.undeclared("reads", ptr, len);
        };
        let mut rest = bytes;
        for (physical, offset, len) in pieces {
            let (part, others) = rest.split_at_mut(len);
            self.physicals.get(physical).store.read(offset, part);
            rest = others;
        }
    }

    /// Writes to a range that the kernel declared for writing. An undeclared range is reported, and
    /// nothing is written.
    pub fn write(&mut self, ptr: DevicePtr, bytes: &[u8]) {
        let len = bytes.len() as u64;
        let Some(pieces) = find(self.writes, ptr.get(), len) else {
            return self.undeclared("writes", ptr, len);
        };
        let mut rest = bytes;
        for (physical, offset, len) in pieces {
            let (part, others) = rest.split_at(len);
            self.physicals.get_mut(physical).store.write(offset, part);
            rest = others;
        }
    }

    /// Reports that bytes are not what they should be.
    pub fn report(&mut self, detail: impl Into<String>) {
        self.push(ViolationKind::WrongBytes, detail.into());
    }

    fn undeclared(&mut self, how: &str, ptr: DevicePtr, bytes: u64) {
        let detail = format!("the kernel {how} {bytes} B at {ptr}, which it did not declare");
        self.push(ViolationKind::BadAddress, detail);
    }

    fn push(&mut self, kind: ViolationKind, detail: String) {
        self.reports.push(Violation { kind, call: self.name.into(), detail });
    }
}

/// The physical parts of a range, if `pieces` cover it: memory, offset, length.
fn find(pieces: &[Piece], at: u64, bytes: u64) -> Option<Vec<(usize, u64, usize)>> {
    let mut parts = Vec::new();
    let (mut next, end) = (at, at.checked_add(bytes)?);
    while next < end {
        let piece = pieces.iter().find(|piece| next >= piece.at && next - piece.at < piece.len)?;
        let within = next - piece.at;
        let len = (piece.len - within).min(end - next);
        parts.push((piece.physical, piece.offset + within, usize::try_from(len).ok()?));
        next += len;
    }
    Some(parts)
}

fn after(ptr: DevicePtr, offset: u64) -> DevicePtr {
    ptr.checked_add(offset).expect("the kernel's range was resolved")
}

fn for_chunks(bytes: u64, mut visit: impl FnMut(u64, u64)) {
    const CHUNK: u64 = 64 << 10;
    let mut offset = 0;
    while offset < bytes {
        let len = CHUNK.min(bytes - offset);
        visit(offset, len);
        offset += len;
    }
}

/// Byte `index` of the pattern of `tag`; tags that differ modulo 256 differ in every byte.
fn pattern(tag: u64, index: u64) -> u8 {
    let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    mixed.to_le_bytes()[0].wrapping_add(tag.to_le_bytes()[0])
}
