//! Logs of RMM's logging adaptor.

use std::collections::HashMap;

use vmem_core::Label;

use super::table::{Row, Table};
use super::{Numbers, ReadError};
use crate::{Origin, Trace, TraceBuilder};

pub(crate) const HEADER: &str = "Thread,Time,Action,Pointer,Size,Stream";

/// A live block, by its address in the log.
struct Live {
    slot: u32,
    line: usize,
}

pub(super) fn read(rows: Table<'_>) -> Result<Trace, ReadError> {
    let name = rows.file();
    let mut builder = TraceBuilder::new();
    let mut threads = Numbers::default();
    let mut streams = Numbers::default();
    let mut live: HashMap<u64, Live> = HashMap::new();
    for row in rows {
        let [thread, _time, action, pointer, size, stream] = row.fields(HEADER)?;
        if thread.is_empty() {
            return Err(row.error("the thread is missing"));
        }
        let bytes = row.size(size)?;
        let stream_id = hexadecimal(&row, "stream", stream)?;
        let origin = Origin { stream: streams.number(stream_id), thread: threads.number(thread) };
        let refuse = |error| row.error(format!("{error}"));
        match action {
            "allocate" => {
                let address = hexadecimal(&row, "pointer", pointer)?;
                if let Some(first) = live.get(&address) {
                    let line = first.line;
                    return Err(row.error(format!(
                        "the block at {pointer} is still live: it was allocated in line {line}"
                    )));
                }
                let slot = builder.allocate(bytes, origin, Label::NONE).map_err(refuse)?;
                let line = row.line;
                live.insert(address, Live { slot, line });
            }
            "free" | "deallocate" => {
                let address = hexadecimal(&row, "pointer", pointer)?;
                let Some(Live { slot, line }) = live.remove(&address) else {
                    return Err(row.error(format!("no live block is at {pointer} to be freed")));
                };
                let allocated = builder.free(slot, origin).map_err(refuse)?;
                if allocated != bytes {
                    return Err(row.error(format!(
                        "frees {bytes} bytes of the {allocated} allocated at {pointer} in line \
                         {line}"
                    )));
                }
            }
            "allocate failure" => builder.failure(bytes, origin).map_err(refuse)?,
            _ => {
                return Err(row.error(format!(
                    "the action {action:?} is not one of allocate, free, deallocate, \
                     allocate failure"
                )));
            }
        }
    }
    Ok(builder.finish(name))
}

/// An address or a stream handle. RMM writes both in hexadecimal, with or without `0x`; a null
/// pointer as `(nil)` too.
fn hexadecimal(row: &Row<'_>, what: &str, field: &str) -> Result<u64, ReadError> {
    if field == "(nil)" {
        return Ok(0);
    }
    let digits = field.strip_prefix("0x").unwrap_or(field);
    let only_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    u64::from_str_radix(digits, 16).ok().filter(|_| only_digits).ok_or_else(|| {
        row.error(format!("the {what} {field:?} is not a hexadecimal number of at most 64 bits"))
    })
}
