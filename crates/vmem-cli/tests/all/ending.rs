//! Ends of runs that come early: a request, and an output that cannot be written.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use vmem_cli::{Backend, Console, OpenError, Progress, Stop};
use vmem_core::Device;
use vmem_sim::SimDevice;

use crate::support::Outcome;
use crate::{run, run_on};

/// A card that asks for an end when it is opened for the so-manyth time.
#[derive(Debug)]
struct Stopping {
    opened: AtomicU32,
    ends_at: u32,
    stop: Stop,
}

impl Backend for Stopping {
    fn name(&self) -> &'static str {
        "card"
    }

    fn open(&self, _: u32) -> Result<Arc<dyn Device>, OpenError> {
        if self.opened.fetch_add(1, Ordering::Relaxed) + 1 == self.ends_at {
            self.stop.request();
        }
        Ok(SimDevice::new(4 << 30))
    }
}

/// Runs the program with a device that asks for an end at that opening.
pub(crate) fn ended_at(ends_at: u32, args: &[&str]) -> Outcome {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let stop = Stop::default();
    let backend = Stopping { opened: AtomicU32::new(0), ends_at, stop: stop.clone() };
    let console = Console { out: &mut out, err: &mut err, progress: Progress::Hidden, stop };
    let code = run_on(
        ["program"].iter().chain(args).chain(&["--device", "card"]),
        console,
        Arc::new(backend),
    );
    Outcome { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

/// Answers every write with this error.
struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An output that nobody reads any more is no error of any of these, and a full one is.
#[track_caller]
pub(crate) fn assert_only_a_full_output_fails(commands: &[&[&str]]) {
    for args in commands {
        for (kind, expected) in [(io::ErrorKind::BrokenPipe, 0), (io::ErrorKind::StorageFull, 1)] {
            let mut err = Vec::new();
            let (progress, stop) = (Progress::Hidden, Stop::default());
            let console = Console { out: &mut Broken(kind), err: &mut err, progress, stop };
            assert_eq!(run(["program"].iter().chain(*args), console), expected, "{args:?}");
            let err = String::from_utf8_lossy(&err);
            assert!(expected == 1 || !err.contains("error: "), "{args:?}: {err}");
        }
    }
}
