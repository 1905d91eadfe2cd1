//! The pools over the simulated device.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod allowance;
mod auto_trim;
mod bookkeeping;
mod borrowed;
mod buffers_in_captures;
mod captures;
mod careless;
mod conformance;
mod faults;
mod figures;
mod fit;
mod footprint;
mod forks;
mod growth;
mod handed_over;
mod handles;
mod home;
mod hooks;
mod ladder;
mod lanes;
mod lost_markers;
mod merged_lists;
mod moves;
mod own_handles;
mod panics;
mod placement;
mod printed;
mod quarantine;
mod refusals;
mod regressions_memory;
mod regressions_moves;
mod regressions_soak;
mod regressions_streams;
mod residency;
mod residency_faults;
mod resting;
mod returning;
mod rmm;
mod sleeping;
mod streams;
mod support;
mod told;
mod typed;
mod waiting;
