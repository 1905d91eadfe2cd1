//! Bytes as the rows of an RMM log.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| vmem_fuzz::read(b"Thread,Time,Action,Pointer,Size,Stream\n", bytes));
