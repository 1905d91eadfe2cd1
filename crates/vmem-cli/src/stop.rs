//! Ending early, with what there is.

use std::io::Write;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asks a running command to end early: after what it runs at the moment it prints what is done and
/// writes its document. Clones are one request. `Default` is one that nobody has made yet.
///
/// ```
/// use vmem_cli::{Console, Progress, Stop, run};
///
/// let stop = Stop::default();
/// stop.request();
/// let (mut out, mut err) = (Vec::new(), Vec::new());
/// let console = Console { out: &mut out, err: &mut err, progress: Progress::Hidden, stop };
/// assert_eq!(run(["vmem", "bench"], console), 130);
/// assert!(String::from_utf8(out)?.contains("interrupted: 0 of 56 done"));
/// # Ok::<(), std::string::FromUtf8Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// The exit code of a command that ended early: that of a program that the interrupt signal
    /// ended, as shells give it.
    pub(crate) const CODE: u8 = 130;

    /// A request that the first Ctrl-C makes. The second ends the process at once. Only the first
    /// call in a process has this effect.
    pub fn on_interrupt() -> Self {
        let stop = Self::default();
        let handed = stop.clone();
        // Where a handler is set already, Ctrl-C does what that one says.
        let _ = ctrlc::set_handler(move || {
            if handed.is_requested() {
                process::exit(Self::CODE.into());
            }
            handed.request();
            // Where standard error is gone there is nobody to tell.
            let _ = std::io::stderr()
                .write_all(b"\nending after what runs now; again to end at once\n");
        });
        stop
    }

    /// Makes the request.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns true if the request was made.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
