//! Memory snapshots of PyTorch: what both of their forms say.

mod frames;
mod json;
mod pickle;

use std::collections::HashMap;
use std::fmt;

pub use frames::Frames;
use frames::{Frame, Labels};
pub(super) use json::read as read_json;
pub(super) use pickle::{PROTO, read as read_pickle};

use super::history::{History, Trouble, Who};
use super::notes::Judge;
use super::{Irregularity, ReadError, ReadOptions, Strictness};
use crate::Trace;

/// The most devices that a snapshot may list; no machine has as many.
const MOST_DEVICES: usize = 1024;

const TOO_MANY: &str = "more devices than any machine has";

/// What an entry of a history says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Alloc,
    FreeRequested,
    FreeCompleted,
    OutOfMemory,
    /// Segments and snapshots: the allocator's doing, not the program's.
    Other,
}

impl Action {
    fn of(name: &str) -> Self {
        match name {
            "alloc" => Self::Alloc,
            "free_requested" => Self::FreeRequested,
            "free_completed" => Self::FreeCompleted,
            "oom" => Self::OutOfMemory,
            _ => Self::Other,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Alloc => "alloc",
            Self::FreeRequested => "free_requested",
            Self::FreeCompleted => "free_completed",
            Self::OutOfMemory => "oom",
            Self::Other => "other",
        }
    }
}

/// An entry of a history; `None` is what is missing or no whole number of at least 0.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    action: Option<Action>,
    address: Option<u64>,
    size: Option<u64>,
    stream: Option<u64>,
    /// In microseconds.
    time: Option<u64>,
    /// The number of its label; 0 for none.
    label: u32,
}

/// The histories of all devices, or of the one that is wanted.
struct Devices<'a> {
    file: &'a str,
    options: ReadOptions,
    devices: Vec<Device>,
    /// Blocks in use at the end, by device.
    in_use: Vec<InUse>,
    labels: Labels,
}

struct Device {
    judge: Judge,
    history: History,
    /// How many frees of a block at an address have been requested and not completed.
    requested: HashMap<u64, u32>,
    /// How many entries there are, whatever they say.
    entries: u64,
}

struct InUse {
    device: u64,
    address: u64,
    size: u64,
    stream: u64,
    label: u32,
}

impl<'a> Devices<'a> {
    fn new(file: &'a str, options: ReadOptions) -> Self {
        let labels = Labels::new(options.frames);
        Self { file, options, devices: Vec::new(), in_use: Vec::new(), labels }
    }

    /// The history of the next device begins. Returns its number; `None` if there are too many.
    fn begin(&mut self) -> Option<usize> {
        if self.devices.len() >= MOST_DEVICES {
            return None;
        }
        let judge = Judge::new(self.options.strictness == Strictness::Strict);
        let (history, requested) = (History::in_order(), HashMap::new());
        self.devices.push(Device { judge, history, requested, entries: 0 });
        Some(self.devices.len() - 1)
    }

    /// Whether a device's history need not be read.
    fn is_unwanted(&self, device: usize) -> bool {
        self.options.device.is_some_and(|wanted| usize::try_from(wanted) != Ok(device))
    }

    /// A device's next entry.
    fn entry(&mut self, device: usize, entry: &Entry) -> Result<(), ReadError> {
        let unwanted = self.is_unwanted(device);
        let file = self.file;
        let Device { judge, history, requested, entries } = &mut self.devices[device];
        let at = usize::try_from(*entries).unwrap_or(usize::MAX);
        *entries += 1;
        if unwanted {
            return Ok(());
        }
        let error = |reason: String| {
            let place = format!("device_traces[{device}][{at}]");
            ReadError::new(file, format!("{place}: {reason}: {entry}"))
        };
        match happened(entry, at, history, requested) {
            Ok(()) => Ok(()),
            Err(Odd::Field(name)) => judge.note(Irregularity::BadField, || {
                error(format!("{name} is not a whole number of at least 0"))
            }),
            Err(Odd::NoAction) => {
                judge.note(Irregularity::BadField, || error("it has no action".to_owned()))
            }
            Err(Odd::ZeroSize) => judge.note(Irregularity::ZeroSize, || {
                error("the size cannot be 0; a block has at least 1 byte".to_owned())
            }),
            Err(Odd::Trouble(trouble)) => {
                let error = || error(trouble.words("in entry"));
                match trouble.what() {
                    Some(what) => judge.note(what, error),
                    None => Err(error()),
                }
            }
        }
    }

    /// A block of a segment that is in use at the end.
    fn in_use(&mut self, in_use: InUse) {
        if !usize::try_from(in_use.device).is_ok_and(|device| self.is_unwanted(device)) {
            self.in_use.push(in_use);
        }
    }

    /// The history of the device that is wanted, or of the one with most entries.
    fn finish(mut self, judge: &mut Judge) -> Result<Trace, ReadError> {
        let file = self.file;
        let counts: Vec<u64> = self.devices.iter().map(|device| device.entries).collect();
        let with_history: Vec<usize> = (0..counts.len()).filter(|&i| counts[i] > 0).collect();
        let listed = || {
            let devices =
                with_history.iter().map(|&i| format!("device {i} ({} entries)", counts[i]));
            devices.collect::<Vec<_>>().join(", ")
        };
        if with_history.is_empty() {
            let reason = "no device has a history; it is recorded after \
                          torch.cuda.memory._record_memory_history()";
            return Err(ReadError::new(file, reason));
        }
        let chosen = match self.options.device {
            Some(wanted) => {
                let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
                if !with_history.contains(&wanted) {
                    let reason = format!("device {wanted} has no history; there are {}", listed());
                    return Err(ReadError::new(file, reason));
                }
                wanted
            }
            None => {
                let first_of_most = with_history.iter().rev().max_by_key(|&&i| counts[i]);
                let chosen = *first_of_most.unwrap_or(&0);
                if with_history.len() > 1 {
                    let others = counts.iter().sum::<u64>() - counts[chosen];
                    judge.note_many(Irregularity::OtherDevice, others, || {
                        ReadError::new(
                            file,
                            format!(
                                "a trace is of one device; there are {}, and device {chosen} is \
                                 taken unless another is chosen",
                                listed()
                            ),
                        )
                    })?;
                }
                chosen
            }
        };
        let Device { judge: mut own, mut history, .. } = self.devices.swap_remove(chosen);
        for InUse { device, address, size, stream, label } in self.in_use {
            let who = Who { stream, thread: 0 };
            if usize::try_from(device) == Ok(chosen)
                && history.live_at_the_end((address, size), who, label)
            {
                own.note(Irregularity::EarlierBlock, || {
                    let reason = "is in use at the end and was allocated before the history begins";
                    ReadError::new(file, format!("the block at {address:#x} {reason}"))
                })?;
            }
        }
        judge.notes.append(&mut own.notes);
        let trace = history.finish(file, &self.labels.names());
        trace.map_err(|error| ReadError::new(file, error.to_string()))
    }
}

/// What is odd about an entry.
enum Odd {
    NoAction,
    Field(&'static str),
    ZeroSize,
    Trouble(Trouble),
}

impl From<Trouble> for Odd {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

fn happened(
    entry: &Entry,
    at: usize,
    history: &mut History,
    requested: &mut HashMap<u64, u32>,
) -> Result<(), Odd> {
    let action = entry.action.ok_or(Odd::NoAction)?;
    if action == Action::Other {
        return Ok(());
    }
    let size = entry.size.ok_or(Odd::Field("size"))?;
    let who = Who { stream: entry.stream.ok_or(Odd::Field("stream"))?, thread: 0 };
    if let Some(time) = entry.time.and_then(|micros| micros.checked_mul(1_000)) {
        history.at(time);
    }
    if action == Action::OutOfMemory {
        return Ok(history.failure(size, who)?);
    }
    let address = entry.address.ok_or(Odd::Field("addr"))?;
    if size == 0 {
        return Err(Odd::ZeroSize);
    }
    match action {
        Action::Alloc => history.allocate((address, size), who, at, entry.label)?,
        Action::FreeRequested => {
            *requested.entry(address).or_default() += 1;
            history.free(address, Some(size), who)?;
        }
        Action::FreeCompleted => {
            if let Some(count @ 1..) = requested.get_mut(&address) {
                *count -= 1;
            } else if history.is_live(address) {
                // Not every allocator tells of requests.
                history.free(address, Some(size), who)?;
            }
            // Else it was requested, so freed by the program, before the history begins.
        }
        Action::OutOfMemory | Action::Other => {}
    }
    Ok(())
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = self.action.map_or("none", Action::name);
        write!(f, "action {action}")?;
        for (name, field) in [("addr", self.address), ("size", self.size), ("stream", self.stream)]
        {
            match field {
                Some(number) => write!(f, ", {name} {number}")?,
                None => write!(f, ", no {name}")?,
            }
        }
        Ok(())
    }
}

/// Whether the program uses a block in that state.
fn is_in_use(state: &str) -> bool {
    state == "active_allocated"
}
