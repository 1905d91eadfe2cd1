//! Public traces, from the folder that `VMEM_TRACES` names.

use std::io::Write;
use std::path::PathBuf;

use vmem_trace::{Trace, read_path};

/// A public trace, which has to be there if the variable is set; `None`, said loudly, if not.
fn public(name: &str) -> Option<Trace> {
    let Some(folder) = std::env::var_os("VMEM_TRACES") else {
        // Written past the capture of test output, so that it is seen.
        let note = format!("SKIPPED: {name}: VMEM_TRACES names no folder of public traces\n");
        std::io::stderr().write_all(note.as_bytes()).unwrap();
        return None;
    };
    Some(read_path(PathBuf::from(folder).join(name)).unwrap().trace)
}

#[test]
fn public_traces_have_their_published_peaks() {
    for (name, peak) in [
        ("pangu_2.6B.csv", 5_530_099_775),
        ("resnet50.csv", 1_515_472_556),
        ("iopddl_G_1.csv", 3_030_937_746),
    ] {
        if let Some(trace) = public(name) {
            assert_eq!(trace.peak_live(), peak, "{name}");
            assert_eq!(format!("{}.csv", trace.name()), name);
        }
    }
}

/// The capacities that these two instances were made to fit exactly.
#[test]
fn minimalloc_traces_need_at_most_their_capacity() {
    for name in ["minimalloc_A.csv", "minimalloc_K.csv"] {
        if let Some(trace) = public(name) {
            assert!(trace.peak_live() <= 1 << 20, "{name}");
        }
    }
}
