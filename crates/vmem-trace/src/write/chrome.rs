//! Trace events of Chrome.

use std::io::{self, Write};

use serde_json::json;
use vmem_core::Label;

use crate::trace::index;
use crate::{Event, Origin, Trace};

/// Writes a trace as the trace events that Chrome's profiler and Perfetto open.
///
/// Live bytes are a counter. A block is a span from its allocation to its free, or to the end, named by the
/// first line of its label, with its size, stream and all of the label; a noted failure and a mark are
/// instants. Without times the event's number stands for microseconds. O(events).
///
/// # Errors
/// The error of `to`, if it cannot be written to.
pub fn write_chrome_trace(trace: &Trace, mut to: impl Write) -> io::Result<()> {
    write!(to, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
    let name = json!({"ph": "M", "name": "process_name", "pid": 0, "args": {"name": trace.name()}});
    write!(to, "\n{name}")?;
    let mut live = 0;
    let mut blocks: Vec<Option<Block>> = vec![None; index(trace.slots())];
    let mut last = 0.0;
    let mut id = 0_u64;
    for (at, event) in trace.events().iter().enumerate() {
        // In microseconds, which may have a fraction.
        last = trace.times().map_or(at as f64, |times| times[at] as f64 / 1e3);
        match *event {
            Event::Allocate { slot, size, origin, label } => {
                let block = Block { id, size, origin, label };
                id += 1;
                live += size;
                block.write("b", last, &mut to)?;
                blocks[index(slot)] = Some(block);
            }
            Event::Free { slot, .. } => {
                if let Some(block) = blocks[index(slot)].take() {
                    live -= block.size;
                    block.write("e", last, &mut to)?;
                }
            }
            Event::Failure { size, origin } => {
                let args = json!({"size": size, "stream": origin.stream});
                instant("failed request", origin.thread, last, &args, &mut to)?;
                continue;
            }
            Event::Mark(mark) => {
                instant(&format!("{mark:?}"), 0, last, &json!({}), &mut to)?;
                continue;
            }
        }
        let counter =
            json!({"ph": "C", "name": "live", "pid": 0, "ts": last, "args": {"bytes": live}});
        write!(to, ",\n{counter}")?;
    }
    for block in blocks.into_iter().flatten() {
        block.write("e", last, &mut to)?;
    }
    writeln!(to, "\n]}}")?;
    to.flush()
}

/// A block that is live.
#[derive(Clone, Copy)]
struct Block {
    id: u64,
    size: u64,
    origin: Origin,
    label: Label,
}

impl Block {
    /// Its beginning or its end.
    fn write(&self, phase: &str, time: f64, to: &mut impl Write) -> io::Result<()> {
        let Self { id, size, origin, label } = *self;
        let Origin { stream, thread } = origin;
        let name = label.as_str().lines().next().unwrap_or("block");
        let mut event = json!({
            "ph": phase, "cat": "block", "name": name, "id": format!("{id:#x}"), "pid": 0, "tid": thread,
            "ts": time,
        });
        if phase == "b" {
            event["args"] = json!({"size": size, "stream": stream, "label": label.as_str()});
        }
        write!(to, ",\n{event}")
    }
}

fn instant(
    name: &str,
    thread: u32,
    time: f64,
    args: &serde_json::Value,
    to: &mut impl Write,
) -> io::Result<()> {
    let event = json!({
        "ph": "i", "s": "p", "name": name, "pid": 0, "tid": thread, "ts": time, "args": args,
    });
    write!(to, ",\n{event}")
}
