//! Bytes as a stack, a fault and a program of operations, run beside the model.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(failure) = vmem_lab::soak_bytes(bytes) {
        panic!("{failure}");
    }
});
