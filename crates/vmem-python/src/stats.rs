//! What is known of a device's memory.

use std::ffi::CStr;

use pyo3::prelude::*;
use vmem::{VMEM_UNKNOWN, vmem_stats, vmem_usage};

use crate::error::{Filled, Refusal};

/// What a device's memory is used for. Sizes in bytes; None is what is not known, and no limit.
#[pyclass(frozen, get_all, module = "vmem_gpu")]
#[derive(Debug)]
pub(crate) struct Stats {
    pub(crate) bytes: u64,
    peak_bytes: u64,
    total_bytes: u64,
    blocks: u64,
    peak_blocks: u64,
    total_blocks: u64,
    failures: u64,
    pub(crate) reserved: Option<u64>,
    peak_reserved: Option<u64>,
    trimmed: Option<u64>,
    quarantined: Option<u64>,
    limit: Option<u64>,
    tier: String,
}

impl Stats {
    /// Those of a device that is open.
    pub(crate) fn of(device: i32) -> Result<Self, Refusal> {
        // SAFETY: a struct of its size.
        let stats = vmem_stats::by(|stats| unsafe { vmem::vmem_get_stats(device, stats) })?;
        Ok(stats.into())
    }
}

impl Usage {
    /// Those of a tag on a device that is open.
    pub(crate) fn of(device: i32, tag: &CStr) -> Result<Self, Refusal> {
        let tag = tag.as_ptr();
        // SAFETY: a C string, and a struct of its size.
        let usage =
            vmem_usage::by(|usage| unsafe { vmem::vmem_get_tag_usage(device, tag, usage) })?;
        Ok(usage.into())
    }
}

/// Use of memory under a tag, in bytes.
#[pyclass(frozen, get_all, module = "vmem_gpu")]
#[derive(Debug)]
pub(crate) struct Usage {
    bytes: u64,
    peak_bytes: u64,
    total_bytes: u64,
    blocks: u64,
    peak_blocks: u64,
    total_blocks: u64,
}

#[pymethods]
impl Stats {
    fn __repr__(&self) -> String {
        let size = |size: Option<u64>| size.map_or("None".to_owned(), |size| size.to_string());
        format!(
            "Stats(tier='{}', bytes={}, peak_bytes={}, blocks={}, reserved={}, limit={}, failures={})",
            self.tier,
            self.bytes,
            self.peak_bytes,
            self.blocks,
            size(self.reserved),
            size(self.limit),
            self.failures,
        )
    }
}

#[pymethods]
impl Usage {
    fn __repr__(&self) -> String {
        let Self { bytes, peak_bytes, blocks, .. } = self;
        format!("Usage(bytes={bytes}, peak_bytes={peak_bytes}, blocks={blocks})")
    }
}

const fn known(figure: u64) -> Option<u64> {
    if figure == VMEM_UNKNOWN { None } else { Some(figure) }
}

impl From<vmem_stats> for Stats {
    fn from(stats: vmem_stats) -> Self {
        let tier = u8::try_from(stats.tier).map_or('?', char::from);
        Self {
            bytes: stats.bytes,
            peak_bytes: stats.peak_bytes,
            total_bytes: stats.total_bytes,
            blocks: stats.blocks,
            peak_blocks: stats.peak_blocks,
            total_blocks: stats.total_blocks,
            failures: stats.failures,
            reserved: known(stats.reserved),
            peak_reserved: known(stats.peak_reserved),
            trimmed: known(stats.trimmed),
            quarantined: known(stats.quarantined),
            limit: known(stats.limit),
            tier: tier.to_string(),
        }
    }
}

impl From<vmem_usage> for Usage {
    fn from(usage: vmem_usage) -> Self {
        Self {
            bytes: usage.bytes,
            peak_bytes: usage.peak_bytes,
            total_bytes: usage.total_bytes,
            blocks: usage.blocks,
            peak_blocks: usage.peak_blocks,
            total_blocks: usage.total_blocks,
        }
    }
}
