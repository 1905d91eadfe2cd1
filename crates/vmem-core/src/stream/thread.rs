//! Which thread a per-thread default stream belongs to, by lifetime rather than by handle.

use std::cell::RefCell;
use std::sync::Arc;
// Never loom's: a model that fails drops its threads' locals when it is over.
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Inbox, Stream, StreamExt, WeakStream};
use crate::DeviceId;
use crate::sync::thread_local;

/// A thread's identity, which outlives the thread and knows that it ended.
#[derive(Debug, Clone)]
pub(super) struct ThreadToken(Arc<AtomicBool>);

impl ThreadToken {
    pub(super) fn is_current(&self) -> bool {
        LOCAL.try_with(|local| Arc::ptr_eq(&local.ended.0, &self.0)).unwrap_or(false)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What a thread keeps: its token, weakly its default streams, one per device, and what these have yet
/// to wait for.
struct Local {
    ended: ThreadToken,
    streams: RefCell<Vec<(DeviceId, WeakStream)>>,
    inboxes: RefCell<Vec<(DeviceId, Arc<Inbox>)>>,
}

impl Local {
    /// The inbox of the thread's streams of `device`. Of those that no stream has any more, the ones
    /// whose waits are over are forgotten: they would keep their devices.
    fn inbox(&self, device: DeviceId) -> Arc<Inbox> {
        // With its last event a device may go, which may ask for a stream.
        let inboxes = self.inboxes.borrow().clone();
        let is_left = |inbox: &Arc<Inbox>| Arc::strong_count(inbox) <= 2;
        inboxes.iter().filter(|(_, inbox)| is_left(inbox)).for_each(|(_, i)| i.forget_complete());
        drop(inboxes);
        let mut inboxes = self.inboxes.borrow_mut();
        inboxes.retain(|(_, inbox)| Arc::strong_count(inbox) > 1 || !inbox.is_empty());
        let found = inboxes.iter().find(|(id, _)| *id == device).map(|(_, inbox)| inbox.clone());
        found.unwrap_or_else(|| {
            let inbox = Arc::new(Inbox::default());
            inboxes.push((device, inbox.clone()));
            inbox
        })
    }
}

impl Drop for Local {
    /// The driver's state for the thread may be gone, so nothing names a stream, and nothing is
    /// recorded: streams that still have strong handles become orphans. What an earlier handle left
    /// to wait for goes with the thread, whose stream has no later work.
    fn drop(&mut self) {
        self.ended.0.store(true, Ordering::Release);
    }
}

thread_local! {
    static LOCAL: Local = Local {
        ended: ThreadToken(Arc::new(AtomicBool::new(false))),
        streams: RefCell::default(),
        inboxes: RefCell::default(),
    };
}

/// The thread's stream for `device`, built if no handle of it lives. While the thread ends there is
/// nothing to find it by: it is built as that of a thread that has ended.
pub(super) fn cached(
    device: DeviceId,
    build: impl FnOnce(ThreadToken, Arc<Inbox>) -> Stream,
) -> Stream {
    let mut build = Some(build);
    let mut build = |token, inbox| build.take().map(|build| build(token, inbox));
    let found = LOCAL.try_with(|local| {
        // A handle that turns out to be the last tells observers when it goes, and they may ask for
        // a stream: no handle is dropped while the list is borrowed.
        let mut passed = Vec::new();
        let mut found = None;
        local.streams.borrow_mut().retain(|(id, weak)| match weak.upgrade() {
            Some(stream) if !stream.is_retired() => {
                if *id == device {
                    found = Some(stream);
                } else {
                    passed.push(stream);
                }
                true
            }
            stream => {
                passed.extend(stream);
                false
            }
        });
        drop(passed);
        found.or_else(|| {
            let stream = build(local.ended.clone(), local.inbox(device))?;
            local.streams.borrow_mut().push((device, stream.downgrade()));
            Some(stream)
        })
    });
    let ended = || build(ThreadToken(Arc::new(AtomicBool::new(true))), Arc::default());
    found.ok().flatten().or_else(ended).expect("it is built once")
}
