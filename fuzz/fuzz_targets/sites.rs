//! Bytes as a file of labels, and as one of their names.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vmem_trace::Sites;

const ROWS: &[u8] = b"pointer,bytes,site\n";

fuzz_target!(|bytes: &[u8]| {
    let _ = Sites::read("fuzzed", &[ROWS, bytes].concat()[..]);
    let sites = Sites::read("rows", &[ROWS, b"1,1,0\n"].concat()[..]).expect("it is a table");
    let _ = sites.named("fuzzed", &[b"site,place,function\n", bytes].concat()[..]);
});
