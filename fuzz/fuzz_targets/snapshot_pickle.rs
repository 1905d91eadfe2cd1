//! Bytes as the operations of a pickle.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| vmem_fuzz::read(b"\x80\x04", bytes));
