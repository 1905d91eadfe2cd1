//! Lifetimes of blocks.

use std::collections::HashMap;
use std::io::BufRead;
use std::mem;

use vmem_core::{BlockLayout, Label};

use super::lines::{self, Fields, Line, Lines, MOST_COLUMNS};
use super::notes::Judge;
use super::{Irregularity, ReadError};
use crate::{Origin, Trace, TraceBuilder};

pub(crate) const HEADER: &str = "id,lower,upper,size";

/// Where the fields of a row are.
pub(super) struct Columns {
    count: usize,
    id: usize,
    lower: usize,
    upper: usize,
    size: usize,
}

struct Block {
    line: usize,
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

impl Columns {
    /// Understands a header by its names, in any order and among others.
    pub(super) fn of_header(fields: &Fields<'_>) -> Option<Self> {
        if fields.count > MOST_COLUMNS {
            return None;
        }
        Some(Self {
            count: fields.count,
            id: fields.column(&["id"])?,
            lower: fields.column(&["lower"])?,
            upper: fields.column(&["upper"])?,
            size: fields.column(&["size"])?,
        })
    }
}

/// The blocks of one table, until they are carried out.
#[derive(Default)]
struct Blocks {
    blocks: Vec<Block>,
    moments: Vec<Moment>,
    /// The line of each id.
    lines: HashMap<i64, usize>,
}

/// Reads a file that has a header of lifetimes near its beginning.
pub(super) fn read<R: BufRead>(
    file: &str,
    mut lines: Lines<'_, R>,
    judge: &mut Judge,
) -> Result<Trace, ReadError> {
    let mut builder = TraceBuilder::new();
    let mut columns: Option<Columns> = None;
    let mut table = Blocks::default();
    while let Some(line) = lines.next()? {
        let fields = line.fields();
        if let Some(header) = Columns::of_header(&fields) {
            if columns.replace(header).is_some() {
                judge.note(Irregularity::NewRun, || line.error("another table begins"))?;
                mem::take(&mut table).carry_out(file, &mut builder)?;
            }
            continue;
        }
        let row = match (&columns, line.odd) {
            (_, Some(odd)) => Err(odd.to_owned()),
            (None, None) => Err(format!("it is no row of {HEADER}")),
            (Some(columns), None) if fields.count != columns.count => Err(format!(
                "{} fields; accepted are the {} fields {HEADER}",
                fields.count, columns.count
            )),
            (Some(columns), None) => Ok(columns),
        };
        let (what, read) = match row {
            Err(reason) => (Irregularity::ForeignLine, Err(reason)),
            Ok(columns) => (Irregularity::BadField, table.row(columns, &fields, &line)),
        };
        if let Err(reason) = read {
            let what = if line.ended { what } else { Irregularity::CutEnd };
            judge.note(what, || line.error(reason))?;
        }
    }
    table.carry_out(file, &mut builder)?;
    Ok(builder.finish(file))
}

impl Blocks {
    fn row(
        &mut self,
        columns: &Columns,
        fields: &Fields<'_>,
        line: &Line<'_>,
    ) -> Result<(), String> {
        let id = time("id", fields.get(columns.id))?;
        if let Some(line) = self.lines.get(&id) {
            return Err(format!("the id {id} is that of line {line} too"));
        }
        let lower = time("lower", fields.get(columns.lower))?;
        let upper = time("upper", fields.get(columns.upper))?;
        if upper <= lower {
            return Err(format!(
                "the block is live from {lower} up to {upper}, not at all; upper must be above \
                 lower"
            ));
        }
        let size = lines::size(fields.get(columns.size))?;
        BlockLayout::new(size).map_err(|error| format!("the size cannot be allocated: {error}"))?;
        let block = self.blocks.len();
        if block >= TraceBuilder::MAX_EVENTS {
            return Err(crate::TraceError::TooManyEvents.to_string());
        }
        self.lines.insert(id, line.number);
        for (time, what) in [(lower, What::Allocate), (upper, What::Free)] {
            self.moments.push(Moment { time, what, block });
        }
        self.blocks.push(Block { line: line.number, size, slot: 0 });
        Ok(())
    }

    /// Adds what happens, in the order of time.
    fn carry_out(mut self, file: &str, builder: &mut TraceBuilder) -> Result<(), ReadError> {
        self.moments.sort_unstable();
        let origin = Origin::default();
        for Moment { what, block, .. } in self.moments {
            let block = &mut self.blocks[block];
            let done = match what {
                What::Allocate => {
                    builder.allocate(block.size, origin, Label::NONE).map(|slot| block.slot = slot)
                }
                What::Free => builder.free(block.slot, origin).map(drop),
            };
            done.map_err(|error| ReadError::new(file, error.to_string()).at(block.line, ""))?;
        }
        Ok(())
    }
}

fn time(what: &str, field: &str) -> Result<i64, String> {
    field
        .parse()
        .map_err(|error| format!("the {what} {field:?} is not a whole number of 64 bits ({error})"))
}
