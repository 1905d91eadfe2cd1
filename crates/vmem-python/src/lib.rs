//! vmem's Python package: the extension module `vmem_gpu._native`.
//!
//! The module exports the C ABI too, so that Python, and whatever else of the process loads the file that
//! `vmem_gpu.get_library()` names, use one copy of the library. See the page on Python in vmem's
//! documentation.

#![cfg(target_pointer_width = "64")]

mod allocation;
mod calls;
mod error;
mod exit;
mod labels;
mod reclaim;
mod runtime;
mod stats;
mod streams;
mod torch;

/// What Python imports.
#[pyo3::pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::allocation::{Allocation, find_block, free, record_use};
    #[pymodule_export]
    use crate::calls::settings_with;
    #[pymodule_export]
    use crate::error::{Error, OutOfMemoryError};
    #[pymodule_export]
    use crate::labels::Label;
    #[pymodule_export]
    use crate::runtime::{Runtime, device_count, open, runtime};
    #[pymodule_export]
    use crate::stats::{Stats, Usage};
    #[cfg(unix)]
    #[pymodule_export]
    use crate::torch::global::torch_hooks;
    #[pymodule_export]
    use crate::torch::pool::torch_last_refusal;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::exit::watch(module)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("UNKNOWN", vmem::VMEM_UNKNOWN)
    }
}
