//! An observer that passes events to a recorder while there is one.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use arc_swap::ArcSwapOption;
use vmem_core::{MemoryEvent, MemoryEventKind, MemoryObserver, ResourceId};
use vmem_pool::{PoolHandle, RangeState};
use vmem_trace::Recorder;

/// Passes events on while a recording is under way.
#[derive(Default)]
pub(super) struct Tap(ArcSwapOption<Recording>);

struct Recording {
    recorder: Recorder,
    path: PathBuf,
}

impl Tap {
    pub(super) fn is_on(&self) -> bool {
        self.0.load().is_some()
    }

    pub(super) fn start(&self, path: &Path, pools: &[(String, PoolHandle)]) -> io::Result<()> {
        let recorder = Recorder::create(path)?;
        for (_, pool) in pools {
            note_live(&recorder, pool);
        }
        self.0.store(Some(Recording { recorder, path: path.to_owned() }.into()));
        Ok(())
    }

    pub(super) fn stop(&self) -> io::Result<Option<PathBuf>> {
        let Some(recording) = self.0.swap(None) else { return Ok(None) };
        // Another thread may be telling it of its last event, which comes too late then.
        recording.recorder.finish()?;
        Ok(Some(recording.path.clone()))
    }
}

/// Records what is live in a pool, as if it were allocated now.
fn note_live(recorder: &Recorder, pool: &PoolHandle) {
    let Some(snapshot) = pool.snapshot() else { return };
    let resource = ResourceId::new();
    for range in snapshot.segments.iter().flat_map(|segment| &segment.ranges) {
        if let RangeState::Live { layout, label } = range.state {
            let kind = MemoryEventKind::Allocate { ptr: range.start, layout };
            recorder.event(&MemoryEvent::new(kind, resource).with_label(label));
        }
    }
}

impl MemoryObserver for Tap {
    fn event(&self, event: &MemoryEvent) {
        if let Some(recording) = &*self.0.load() {
            recording.recorder.event(event);
        }
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tap").field(&self.is_on()).finish()
    }
}
