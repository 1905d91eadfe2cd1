//! Bytes as a snapshot of PyTorch in JSON.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| vmem_fuzz::read(b"{", bytes));
