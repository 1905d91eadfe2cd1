//! House rules that no lint knows, checked over the manifests and the sources.

mod clauses;
mod manifests;
mod modules;
mod sources;

use crate::cargo;
use crate::metadata::Metadata;

/// Checks every rule.
///
/// # Errors
/// Every breach, one a line.
pub(crate) fn check(metadata: &Metadata) -> Result<(), String> {
    let mut breaches = manifests::breaches(metadata);
    breaches.extend(sources::breaches(&cargo::root())?);
    if breaches.is_empty() {
        return Ok(());
    }
    Err(breaches.join("\n  "))
}

/// The one crate that may name the CUDA bindings, and their names.
const CUDA_CRATE: &str = "vmem-cuda";
const CUDA_BINDINGS: &[&str] = &["cust", "cust_raw"];
