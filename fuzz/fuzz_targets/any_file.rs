//! Bytes as a file of whichever kind it begins like, compressed ones too.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| vmem_fuzz::read(b"", bytes));
