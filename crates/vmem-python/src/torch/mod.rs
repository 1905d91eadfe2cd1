//! What PyTorch calls.
//!
//! As PyTorch's allocator for everything ([`global`]), functions never return null but for 0 bytes: they throw,
//! in the shim in C. As the source of a `MemPool`'s segments ([`pool`]) they return null and never throw.

#[cfg(unix)]
mod aside;
#[cfg(unix)]
pub(crate) mod global;
#[cfg(unix)]
mod graphs;
pub(crate) mod pool;
#[cfg(unix)]
mod pooled;

/// What PyTorch's tensors are aligned to.
const ALIGNMENT: u64 = 512;
