//! Lifetimes of blocks.

use std::collections::HashMap;

use vmem_core::Label;

use super::ReadError;
use super::table::{Row, Table};
use crate::{Origin, Trace, TraceBuilder};

pub(crate) const HEADER: &str = "id,lower,upper,size";

struct Block<'a> {
    row: Row<'a>,
    size: u64,
    slot: u32,
}

/// A moment, ordered as things happen: by time, frees first, then as the file has them.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Moment {
    time: i64,
    what: What,
    block: usize,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Free,
    Allocate,
}

pub(super) fn read(rows: Table<'_>) -> Result<Trace, ReadError> {
    let name = rows.file();
    let mut blocks = Vec::new();
    let mut moments = Vec::new();
    let mut lines = HashMap::new();
    for row in rows {
        let [id, lower, upper, size] = row.fields(HEADER)?;
        let id = time(&row, "id", id)?;
        if let Some(line) = lines.insert(id, row.line) {
            return Err(row.error(format!("the id {id} is that of line {line} too")));
        }
        let (lower, upper) = (time(&row, "lower", lower)?, time(&row, "upper", upper)?);
        if upper <= lower {
            return Err(row.error(format!(
                "the block is live from {lower} up to {upper}, not at all; upper must be above \
                 lower"
            )));
        }
        let block = blocks.len();
        for (time, what) in [(lower, What::Allocate), (upper, What::Free)] {
            moments.push(Moment { time, what, block });
        }
        let size = row.size(size)?;
        blocks.push(Block { row, size, slot: 0 });
    }
    moments.sort_unstable();
    let mut builder = TraceBuilder::new();
    let origin = Origin::default();
    for Moment { what, block, .. } in moments {
        let block = &mut blocks[block];
        let done = match what {
            What::Allocate => {
                builder.allocate(block.size, origin, Label::NONE).map(|slot| block.slot = slot)
            }
            What::Free => builder.free(block.slot, origin).map(drop),
        };
        done.map_err(|error| block.row.error(format!("{error}")))?;
    }
    Ok(builder.finish(name))
}

fn time(row: &Row<'_>, what: &str, field: &str) -> Result<i64, ReadError> {
    field.parse().map_err(|error| {
        row.error(format!("the {what} {field:?} is not a whole number of 64 bits ({error})"))
    })
}
