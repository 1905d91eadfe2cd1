//! Memory snapshots of PyTorch, as JSON.

use std::collections::HashMap;

use serde_json::Value;
use vmem_core::Label;

use super::{Numbers, ReadError};
use crate::{Origin, Trace, TraceBuilder};

const ACCEPTED: &str = "accepted is what torch.cuda.memory._snapshot() returns, written with \
                        json.dump: an object with device_traces, a list for each device";

/// Reads the history of the one device that has any.
pub(super) fn read(name: &str, text: &str) -> Result<Trace, ReadError> {
    let refuse = |reason: String| ReadError::new(name, reason);
    let snapshot: Value = serde_json::from_str(text).map_err(|error| {
        let line = text.lines().nth(error.line().saturating_sub(1));
        refuse(format!("it is not JSON ({error}); {ACCEPTED}"))
            .at(error.line(), line.unwrap_or_default())
    })?;
    let devices = snapshot.get("device_traces").and_then(Value::as_array);
    let devices = devices.ok_or_else(|| refuse(format!("no device_traces; {ACCEPTED}")))?;
    let mut histories = devices
        .iter()
        .enumerate()
        .filter_map(|(device, history)| Some((device, history.as_array()?)))
        .filter(|(_, history)| !history.is_empty());
    let Some((device, history)) = histories.next() else {
        let reason = "no device has a history; it is recorded after \
                      torch.cuda.memory._record_memory_history()";
        return Err(refuse(reason.to_owned()));
    };
    if let Some((other, _)) = histories.next() {
        return Err(refuse(format!(
            "devices {device} and {other} both have a history; a trace is of one device"
        )));
    }
    let mut reader = Reader::default();
    for (at, entry) in history.iter().enumerate() {
        reader.entry(entry).map_err(|reason| {
            let path = format!("device_traces[{device}][{at}]");
            refuse(format!("{path}: {reason}: {}", Brief(entry)))
        })?;
    }
    Ok(reader.builder.finish(name))
}

#[derive(Default)]
struct Reader {
    builder: TraceBuilder,
    streams: Numbers<u64>,
    live: HashMap<u64, u32>,
}

impl Reader {
    fn entry(&mut self, entry: &Value) -> Result<(), String> {
        let number = |field: &str| {
            let value = entry.get(field).and_then(Value::as_u64);
            value.ok_or_else(|| format!("{field} is not a whole number of at least 0"))
        };
        let action = entry.get("action").and_then(Value::as_str);
        let action = action.ok_or("it has no action")?;
        if !matches!(action, "alloc" | "free_requested" | "oom") {
            // Segments, completed frees and snapshots: the allocator's doing, not the program's.
            return Ok(());
        }
        let origin = Origin::stream(self.streams.number(number("stream")?));
        let size = number("size")?;
        let done = match action {
            "alloc" => {
                let address = number("addr")?;
                if self.live.contains_key(&address) {
                    return Err("the block at that address is still live".to_owned());
                }
                let slot = self.builder.allocate(size, origin, Label::NONE);
                slot.map(|slot| {
                    self.live.insert(address, slot);
                })
            }
            "free_requested" => {
                let slot = self.live.remove(&number("addr")?).ok_or(
                    "no live block is at that address; the history must begin before the first \
                     allocation and be long enough (max_entries)",
                )?;
                self.builder.free(slot, origin).map(drop)
            }
            _ => self.builder.failure(size, origin),
        };
        done.map_err(|error| error.to_string())
    }
}

/// The fields of an entry that matter here, without its stack frames.
struct Brief<'a>(&'a Value);

impl std::fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields = ["action", "addr", "size", "stream"];
        let given =
            fields.iter().filter_map(|field| Some(format!("{field} {}", self.0.get(field)?)));
        f.write_str(&given.collect::<Vec<_>>().join(", "))
    }
}
