//! The logs of real programs that come with the crate.

use std::io::Write;
use std::path::PathBuf;

use vmem_core::Label;
use vmem_trace::{Event, Log, Trace, read_path, write_rmm_log};

/// What each is known by: allocations, frees, failures, peak in bytes, and the checksum of it
/// as an RMM log.
const KNOWN: [(Log, [u64; 4], u32); 7] = [
    (Log::Overlay1m, [20_258, 20_196, 0, 22_183_434_034], 1_654_732_473),
    (Log::Overlay100k, [24_440, 24_392, 0, 2_207_480_020], 1_449_722_134),
    (Log::Limit1Gib, [27_584, 27_536, 5, 982_010_394], 4_128_541_929),
    (Log::CupyPrograms, [35_472, 35_460, 0, 3_887_422_337], 2_992_991_440),
    (Log::TorchGpt, [14_182, 14_179, 0, 15_326_918_292], 1_960_087_534),
    (Log::TorchResnet, [10_742, 10_739, 0, 16_981_512_448], 3_259_366_514),
    (Log::TorchGnn, [879, 876, 0, 23_183_006_479], 645_081_008),
];

fn counted(trace: &Trace, which: impl Fn(&Event) -> bool) -> u64 {
    trace.events().iter().filter(|event| which(event)).count() as u64
}

/// The events without labels, which other versions of a reader may find more of.
fn unlabelled(trace: &Trace) -> Vec<Event> {
    let events = trace.events().iter().map(|event| match *event {
        Event::Allocate { slot, size, origin, .. } => {
            Event::Allocate { slot, size, origin, label: Label::NONE }
        }
        other => other,
    });
    events.collect()
}

#[test]
fn the_logs_are_those_that_were_taken() {
    for (log, counts, checksum) in KNOWN {
        let trace = log.trace();
        let found = [
            trace.allocations(),
            counted(&trace, |event| matches!(event, Event::Free { .. })),
            counted(&trace, |event| matches!(event, Event::Failure { .. })),
            trace.peak_live(),
        ];
        let mut written = Vec::new();
        write_rmm_log(&trace, &mut written).unwrap();
        let mut crc = flate2::Crc::new();
        crc.update(&written);
        assert_eq!((found, crc.sum()), (counts, checksum), "{log}");
        assert_eq!(log.name().parse(), Ok(log));
    }
}

#[test]
fn the_logs_are_what_their_sources_say() {
    let Some(folder) = std::env::var_os("VMEM_LOGS").map(PathBuf::from) else {
        // Written past the capture of test output, so that it is seen.
        let note = "SKIPPED: VMEM_LOGS names no folder with the sources of the logs\n";
        std::io::stderr().write_all(note.as_bytes()).unwrap();
        return;
    };
    for log in Log::ALL {
        let extension = if log.name().starts_with("torch") { "pickle" } else { "csv" };
        let source = read_path(folder.join(log.name()).with_extension(extension)).unwrap().trace;
        assert_eq!(unlabelled(&log.trace()), unlabelled(&source), "{log}");
    }
}
