//! vmem's C ABI.
//!
//! `include/vmem.h` declares what this library exports: see the page on the C ABI in vmem's documentation.
//! The functions here are that header's, for those who call them from Rust; programs in Rust have
//! better in `vmem-runtime`.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg(target_pointer_width = "64")]

mod abi;
mod boundary;
mod callback;
mod config;
mod control;
mod copies;
mod inspect;
mod instance;
mod memory;
mod order;
mod recording;
mod rest;
mod status;
mod streams;
mod table;
mod uses;

pub use boundary::{vmem_last_error, vmem_last_error_json, vmem_status_name};
pub use callback::{vmem_pressure_fn, vmem_release_fn, vmem_set_pressure_callback};
pub use config::{vmem_close, vmem_open, vmem_options};
pub use control::{
    VMEM_ABI_VERSION, vmem_abi_version, vmem_device_count, vmem_forget_stream, vmem_hold_stream,
    vmem_synchronize, vmem_trim, vmem_version, vmem_wait_and_trim,
};
pub use copies::{Register, vmem_register_of_copy};
pub use inspect::{
    VMEM_UNKNOWN, vmem_block, vmem_find_block, vmem_get_stats, vmem_get_tag_usage,
    vmem_reset_peaks, vmem_snapshot, vmem_stats, vmem_usable_size, vmem_usage, vmem_write_fn,
};
pub use memory::{VMEM_STREAM_LEGACY, VMEM_STREAM_PER_THREAD, vmem_allocate, vmem_stream};
pub use order::{vmem_free, vmem_free_vouched};
pub use recording::{vmem_start_recording, vmem_stop_recording};
pub use rest::{
    VMEM_REST_DISCARD, VMEM_REST_NO_WAIT, vmem_fill_host_reserve, vmem_get_residence, vmem_moved,
    vmem_residence, vmem_sleep, vmem_wake,
};
pub use status::vmem_status;
pub use uses::{vmem_record_use, vmem_use_until_free};
