//! Signals that ask for snapshots and recordings.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use signal_hook::consts::{SIGUSR1, SIGUSR2};
use signal_hook::iterator::{Handle, Signals as Incoming};

use super::Live;

/// The signals that are listened for, by number. `Default` has `SIGUSR1` and `SIGUSR2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signals {
    /// Asks for a snapshot.
    pub snapshot: i32,
    /// Begins a recording, and ends the one that is under way.
    pub recording: i32,
}

impl Default for Signals {
    fn default() -> Self {
        Self { snapshot: SIGUSR1, recording: SIGUSR2 }
    }
}

/// Listens for signals until it is dropped.
pub struct Listener {
    incoming: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Live {
    /// Does what signals ask for, on a thread of its own, until the listener is dropped. What fails is
    /// told through `tracing`: nobody else is there to hear it.
    ///
    /// # Errors
    /// If the process may not handle such a signal, or no thread can be had.
    pub fn listen(self: &Arc<Self>, signals: Signals) -> io::Result<Listener> {
        let mut incoming = Incoming::new([signals.snapshot, signals.recording])?;
        let handle = incoming.handle();
        let live = self.clone();
        let thread = thread::Builder::new().name("vmem-signals".to_owned()).spawn(move || {
            for signal in incoming.forever() {
                let done = if signal == signals.snapshot {
                    live.snapshot().map(drop)
                } else if live.is_recording() {
                    live.stop_recording().map(drop)
                } else {
                    live.start_recording().map(drop)
                };
                if let Err(error) = done {
                    tracing::error!(%error, signal, "what a signal asked for could not be written");
                }
            }
        })?;
        Ok(Listener { incoming: handle, thread: Some(thread) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.incoming.close();
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was reported there.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}
