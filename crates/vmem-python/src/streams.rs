//! Streams as Python's libraries have them.

use pyo3::exceptions::{PyNotImplementedError, PyTypeError};
use pyo3::prelude::*;

/// A stream that was named: its handle, and the object that has it.
pub(crate) struct Named {
    pub(crate) handle: usize,
    /// Kept, so that the stream is not destroyed before its memory is freed; none for a number.
    pub(crate) _owner: Option<Py<PyAny>>,
}

/// What a caller names as a stream: a handle as a number, an object with `__cuda_stream__` (the CUDA stream
/// protocol), or one with `cuda_stream` (PyTorch) or `ptr` (CuPy). None is the legacy default stream.
pub(crate) fn named(stream: Option<&Bound<'_, PyAny>>) -> PyResult<Named> {
    let Some(stream) = stream else { return Ok(Named { handle: 0, _owner: None }) };
    if let Ok(handle) = stream.extract::<usize>() {
        return Ok(Named { handle, _owner: None });
    }
    let handle = if let Some(protocol) = stream.getattr_opt("__cuda_stream__")? {
        let answer = if protocol.is_callable() { protocol.call0()? } else { protocol };
        let (version, handle): (u32, usize) = answer.extract()?;
        if version != 0 {
            return Err(PyNotImplementedError::new_err(format!(
                "version {version} of the CUDA stream protocol; version 0 is known"
            )));
        }
        handle
    } else if let Some(handle) = stream.getattr_opt("cuda_stream")? {
        handle.extract()?
    } else if let Some(handle) = stream.getattr_opt("ptr")? {
        handle.extract()?
    } else {
        let class = stream.get_type();
        return Err(PyTypeError::new_err(format!(
            "{class} is no stream: a handle as int, an object with __cuda_stream__, cuda_stream or ptr"
        )));
    };
    Ok(Named { handle, _owner: Some(stream.clone().unbind()) })
}
