//! Bytes as the frames of a recording, and as the entries of a frame whose checksum is right.

#![no_main]

use libfuzzer_sys::fuzz_target;

const MAGIC: &[u8] = b"vmem recording 2\n";

fuzz_target!(|bytes: &[u8]| {
    vmem_fuzz::read(MAGIC, bytes);
    vmem_fuzz::read(MAGIC, &vmem_fuzz::frame(bytes));
});
