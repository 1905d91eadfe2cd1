//! Functions by name and version.

use std::ffi::{CStr, c_char, c_int, c_void};

use super::{Export, exports};
use crate::refusal::{Answer, NOT_FOUND, Refusal};
use crate::types::{In, Out};

exports! {
    /// The newest form of a function that neither the driver nor the version asked for is too old
    /// for; null and not found (500) otherwise.
    fn cuGetProcAddress(
        driver,
        symbol: In<c_char>,
        function: Out<*mut c_void>,
        version: c_int,
        _flags: u64,
    ) {
        let slot = function.slot()?;
        let name = symbol.text()?;
        let newest = version.min(driver.config()?.version);
        match find(&name, newest) {
            Some(export) => {
                slot.put((export.address)());
                Ok(())
            }
            None => {
                slot.put(std::ptr::null_mut());
                let why = format!("no `{name}` in version {newest}");
                Err(Refusal::new(NOT_FOUND, why))
            }
        }
    }
}

impl In<c_char> {
    fn text(&self) -> Answer<String> {
        let at = self.address()?;
        // SAFETY: the C caller passed a string that ends with zero; it was checked not to be null.
        let text = unsafe { CStr::from_ptr(at) };
        Ok(text.to_string_lossy().into_owned())
    }
}

/// Functions newer than CUDA 11.4, with the version that brought them.
const NEW: &[(&str, c_int)] = &[
    ("cuCtxCreate_v4", 12_050),
    ("cuEventElapsedTime_v2", 12_080),
    ("cuMemAdvise_v2", 12_020),
    ("cuMemPrefetchAsync_v2", 12_020),
    ("cuOccupancyMaxActiveClusters", 11_080),
    ("cuOccupancyMaxPotentialClusterSize", 11_080),
    ("cuStreamGetCtx_v2", 12_050),
    ("cuStreamGetId", 12_000),
];

/// The function of a name without a suffix, as a program of a version means it.
fn find(name: &str, version: c_int) -> Option<&'static Export> {
    let known = |export: &&Export| {
        let since = NEW.iter().find(|(newer, _)| *newer == export.name);
        since.is_none_or(|&(_, since)| version >= since)
    };
    let form = |suffix: &str| super::find(&format!("{name}{suffix}")).filter(known);
    form("_v3").or_else(|| form("_v2")).or_else(|| form(""))
}
