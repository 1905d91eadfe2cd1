//! The crate offset-allocator as a resource against the crate alone.

use crate::support::{assert_smallest_device, trace};

/// The smallest device over peak live, all of which is one range.
const REFERENCES: [(&str, f64); 7] = [
    ("pangu_2.6B", 1.2621),
    ("resnet50", 1.0106),
    ("iopddl_G_1", 1.0144),
    ("overlay", 1.0315),
    ("overlay-core", 1.2386),
    ("dissolve", 1.1179),
    ("spatial-join", 1.0405),
];

#[test]
fn it_passes_on_the_devices_that_the_crate_passes_on() {
    for (name, passed) in REFERENCES {
        if let Some(trace) = trace(name) {
            assert_smallest_device("offset", &trace, passed);
        }
    }
}
