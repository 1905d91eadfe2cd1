//! What the project wants of its resources, beside what they come to here: a line for each target
//! that can be measured without a GPU.
//!
//! Ratios are of two sides that take turns in rounds of a few milliseconds, so that whatever else
//! the machine does falls on both. Of the rounds that were disturbed least the median is what counts,
//! and the quartiles tell how far to trust it. Counts are exact and the same on every machine.
//!
//! Without `--bench`, which `cargo bench` passes, everything runs once, to see that it runs.

#![allow(clippy::print_stdout, reason = "its output is a table for people")]

mod counts;
mod heap;
mod instructions;
mod pairs;
mod recording;
mod rounds;
mod streams;
#[allow(dead_code, unused_imports, reason = "each bench uses a part of it")]
#[path = "../subject/mod.rs"]
mod subject;
mod table;
mod threads;

use rounds::Effort;
use table::Table;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

fn main() {
    if instructions::ran_passes() {
        return;
    }
    let effort = Effort::asked_for();
    let mut table = Table::begin(&effort);
    pairs::against_offset_allocator(&effort, &mut table);
    pairs::tier_b_over_pool(&effort, &mut table);
    threads::two_over_one(&effort, &mut table);
    streams::beside_rmm(&effort, &mut table);
    pairs::refusal(&effort, &mut table);
    recording::event(&effort, &mut table);
    instructions::of_a_pair(&effort, &mut table);
    heap::metadata(&mut table);
    streams::calls_a_turn(&mut table);
    counts::driver_calls(&mut table);
    counts::reserved(&mut table);
    counts::smallest_device(&mut table);
    counts::trimmed(&mut table);
    table.end();
}
