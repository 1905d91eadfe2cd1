//! Memory with an owner in Python.

use std::ffi::CString;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use vmem::vmem_status;

use crate::calls::{self, Wanted, pointer};
use crate::error::{Filled, Refusal, check};
use crate::exit;
use crate::streams::{self, Named};

/// A block of device memory, which is freed with this object, on the stream that it was allocated on. The
/// stream's object is kept alive until then.
#[pyclass(frozen, weakref, module = "vmem_gpu")]
pub(crate) struct Allocation {
    /// 0 for no bytes, and once it was freed.
    address: AtomicUsize,
    #[pyo3(get)]
    size: u64,
    #[pyo3(get)]
    device: i32,
    stream: Named,
    /// Called with the device when the block is freed: the current stream, which may use the block too.
    current_stream: Option<Py<PyAny>>,
}

#[pymethods]
impl Allocation {
    /// Allocates `size` bytes on a device, which is opened by the environment's settings if it is not open.
    /// `current_stream`, called with the device when the block is freed, gives the stream that may use it
    /// besides its own.
    #[new]
    #[pyo3(signature = (size, device=0, *, stream=None, alignment=0, tag=None, current_stream=None))]
    fn new(
        py: Python<'_>,
        size: u64,
        device: i32,
        stream: Option<&Bound<'_, PyAny>>,
        alignment: u64,
        tag: Option<CString>,
        current_stream: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let stream = streams::named(stream)?;
        let own = Own { size, alignment, device, open: true };
        own.allocate(py, stream, tag, current_stream)
    }

    /// Its address; 0 for no bytes.
    #[getter]
    fn ptr(&self) -> PyResult<usize> {
        match self.address.load(Ordering::Acquire) {
            FREED => Err(PyValueError::new_err("the block was freed")),
            address => Ok(address),
        }
    }

    /// The handle of the stream that it was allocated on.
    #[getter]
    fn stream(&self) -> usize {
        self.stream.handle
    }

    /// Frees the block now: on its own stream, or on one that the caller vouches for. Nothing if it was
    /// freed. Does not wait for the device.
    #[pyo3(signature = (stream=None))]
    fn free(&self, py: Python<'_>, stream: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let named = stream.map(|stream| streams::named(Some(stream))).transpose()?;
        let address = self.take();
        let other = named.map(|named| named.handle);
        let freed = match other.filter(|handle| !self.is_own(*handle)) {
            None => self.release(address).map_err(|refusal| refusal.raise(py)),
            Some(handle) => calls::call(py, || {
                // SAFETY: the Python caller promises the order and that the stream exists.
                unsafe { vmem::vmem_free_vouched(pointer(address), pointer(handle)) }
            }),
        };
        freed.inspect_err(|_| self.address.store(address, Ordering::Release))
    }

    /// Notes that work now on `stream` uses the block: it is over before the block is used again.
    fn record_use(&self, py: Python<'_>, stream: &Bound<'_, PyAny>) -> PyResult<()> {
        record_use(py, self.ptr()?, stream)
    }

    /// The block as bytes, by version 3 of the CUDA array interface.
    #[getter]
    fn __cuda_array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let interface = PyDict::new(py);
        interface.set_item("shape", (self.size,))?;
        interface.set_item("typestr", "|u1")?;
        interface.set_item("data", (self.ptr()?, false))?;
        interface.set_item("version", 3)?;
        // 0 means nothing there; 1 is the same stream.
        interface.set_item("stream", self.stream.handle.max(1))?;
        Ok(interface)
    }

    fn __repr__(&self) -> String {
        let Self { size, device, .. } = self;
        match self.address.load(Ordering::Acquire) {
            FREED => format!("<vmem_gpu.Allocation of {size} B on device {device}, freed>"),
            address => format!("<vmem_gpu.Allocation {address:#x} of {size} B on device {device}>"),
        }
    }
}

/// What `address` is once the block was freed. No block is there.
const FREED: usize = usize::MAX;

impl Allocation {
    /// Takes the address; 0 if there is nothing to free.
    fn take(&self) -> usize {
        match self.address.swap(FREED, Ordering::AcqRel) {
            FREED => 0,
            address => address,
        }
    }

    /// Whether a handle is that of the stream that the block was allocated on.
    fn is_own(&self, handle: usize) -> bool {
        handle.max(1) == self.stream.handle.max(1)
    }

    /// Frees on the block's own stream, which this object keeps if it can.
    fn release(&self, address: usize) -> Result<(), Refusal> {
        if exit::has_begun() {
            return Ok(());
        }
        // SAFETY: what else uses the block was recorded; who drops an allocation says that it is done.
        check(unsafe { vmem::vmem_free(pointer(address), pointer(self.stream.handle)) })
    }

    /// Records the use by the stream that is current now, if that is another one than the block's.
    fn record_current(&self, py: Python<'_>, address: usize) -> PyResult<()> {
        let Some(current) = &self.current_stream else { return Ok(()) };
        let current = current.call1(py, (self.device,))?;
        let current = streams::named(Some(current.bind(py)))?;
        if self.is_own(current.handle) {
            return Ok(());
        }
        let recorded = py.detach(|| {
            // SAFETY: the host's current stream exists: the host, and `current`, keep it.
            check(unsafe { vmem::vmem_record_use(pointer(address), pointer(current.handle)) })
        });
        match recorded {
            // The graph that is captured is the owner of what it uses; nothing can be recorded of it.
            Err(refusal) if refusal.status == vmem_status::VMEM_ERROR_CAPTURING => Ok(()),
            other => other.map_err(|refusal| refusal.raise(py)),
        }
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        let address = self.take();
        if address == 0 || exit::has_begun() {
            return;
        }
        // Python drops its objects with its lock held.
        let dropped = Python::try_attach(|py| {
            // A free must not swallow the exception that is on its way.
            let pending = PyErr::take(py);
            let recorded = self.record_current(py, address);
            let freed = self.release(address).or_else(|refusal| match refusal.status {
                // The parent's; a child of a fork has no device.
                vmem_status::VMEM_ERROR_FORKED => Ok(()),
                _ => Err(refusal.raise(py)),
            });
            for error in [recorded.err(), freed.err()].into_iter().flatten() {
                if !is_forked(py, &error) {
                    error.write_unraisable(py, None);
                }
            }
            if let Some(pending) = pending {
                pending.restore(py);
            }
        });
        if dropped.is_none() {
            let _ = self.release(address);
        }
    }
}

fn is_forked(py: Python<'_>, error: &PyErr) -> bool {
    let status = error.value(py).getattr("status").and_then(|status| status.extract::<String>());
    status.is_ok_and(|status| status == "VMEM_ERROR_FORKED")
}

/// What an allocation will be.
pub(crate) struct Own {
    pub(crate) size: u64,
    pub(crate) alignment: u64,
    pub(crate) device: i32,
    /// Whether to open the device if it is not.
    pub(crate) open: bool,
}

impl Own {
    /// Allocates it, without the interpreter's lock.
    pub(crate) fn allocate(
        self,
        py: Python<'_>,
        stream: Named,
        tag: Option<CString>,
        current_stream: Option<Py<PyAny>>,
    ) -> PyResult<Allocation> {
        let Self { size, alignment, device, open } = self;
        let handle = stream.handle;
        let address = allocate(py, open, size, alignment, device, handle, tag)?;
        let address = AtomicUsize::new(address);
        Ok(Allocation { address, size, device, stream, current_stream })
    }
}

/// Allocates without the interpreter's lock.
pub(crate) fn allocate(
    py: Python<'_>,
    open: bool,
    size: u64,
    alignment: u64,
    device: i32,
    stream: usize,
    tag: Option<CString>,
) -> PyResult<usize> {
    let allocated = py.detach(|| {
        let tag = tag.as_deref();
        let wanted = Wanted { size, alignment, device, stream, tag };
        // SAFETY: the Python caller names a stream that exists.
        calls::marked(true, || unsafe { calls::allocate(wanted, open) })
    });
    allocated.map_err(|refusal| refusal.raise(py))
}

/// Frees a block by its address, in the order of `stream`, which may have been destroyed unless the caller
/// vouches for it. Who does lets other streams have the memory at once; if the stream is destroyed all the
/// same, the driver ends the process. Does not wait for the device, and
/// drops what comes after `atexit`.
#[pyfunction]
#[pyo3(signature = (ptr, stream=None, *, vouched=false))]
pub(crate) fn free(
    py: Python<'_>,
    ptr: usize,
    stream: Option<&Bound<'_, PyAny>>,
    vouched: bool,
) -> PyResult<()> {
    if exit::has_begun() {
        return Ok(());
    }
    let handle = streams::named(stream)?.handle;
    calls::call(py, || {
        match vouched {
            // SAFETY: the Python caller promises the order and that the stream exists.
            true => unsafe { vmem::vmem_free_vouched(pointer(ptr), pointer(handle)) },
            // SAFETY: the Python caller promises the order.
            false => unsafe { vmem::vmem_free(pointer(ptr), pointer(handle)) },
        }
    })
}

/// Notes that work now on `stream`, which the caller vouches for, uses the block at `ptr`.
#[pyfunction]
pub(crate) fn record_use(py: Python<'_>, ptr: usize, stream: &Bound<'_, PyAny>) -> PyResult<()> {
    let handle = streams::named(Some(stream))?.handle;
    calls::call(py, || {
        // SAFETY: the Python caller names a stream that exists.
        unsafe { vmem::vmem_record_use(pointer(ptr), pointer(handle)) }
    })
}

/// The live block that an address lies in: `(base, size, device, stream)`, the stream as it was named when
/// the block was allocated.
#[pyfunction]
pub(crate) fn find_block(py: Python<'_>, address: usize) -> PyResult<(usize, u64, i32, usize)> {
    py.detach(|| block_at(address)).map_err(|refusal| refusal.raise(py))
}

pub(crate) fn block_at(address: usize) -> Result<(usize, u64, i32, usize), Refusal> {
    // SAFETY: a struct of its size.
    let find = |block| unsafe { vmem::vmem_find_block(pointer(address), block) };
    let block = vmem::vmem_block::by(find)?;
    let (base, stream) = (block.base.expose_provenance(), block.stream.expose_provenance());
    Ok((base, block.size, block.device, stream))
}
