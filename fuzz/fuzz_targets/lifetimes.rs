//! Bytes as the rows of a file of lifetimes.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| vmem_fuzz::read(b"id,lower,upper,size\n", bytes));
