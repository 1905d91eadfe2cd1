//! Overlay in pages: one pattern repeated, of which only outputs survive.

use super::error::Reason;
use super::model::Model;
use super::schedule::Pass;
use super::{WorkloadOptions, check_length};
use crate::{Mark, Origin, TraceBuilder};

/// The rows from the first of these on run once per page.
const FIRST_OF_PAGE: &str = "page.";
/// The rows that are a page's outputs.
const OUTPUTS: &str = "fin.";
/// Scratch that sorting keeps from call to call.
const KEPT_SCRATCH: &str = "cccl.";

pub(super) fn generate(
    model: &Model,
    options: &WorkloadOptions,
    builder: &mut TraceBuilder,
) -> Result<(), Reason> {
    let n = options.scale.get();
    let pairs = model.value("P", &[("N", n)])?;
    let page_pairs = options.page_pairs.get().min(pairs);
    let sizes = |pairs| model.sizes(&[("N", n), ("P", pairs)]);
    let (whole, page) = (sizes(pairs)?, sizes(page_pairs)?);
    let last_page = match pairs % page_pairs {
        0 => None,
        rest => Some(sizes(rest)?),
    };
    check_length(options.passes, pairs.div_ceil(page_pairs), model.rows.len() as u64)?;
    let mut is_before = model.rows.iter().map(|r| !r.name.starts_with(FIRST_OF_PAGE));
    let first = is_before.position(|before| !before).unwrap_or(model.rows.len());
    for _ in 0..options.passes {
        builder.mark(Mark::Pass)?;
        let mut pages = Pages {
            model,
            pass: Pass::new(model, Origin::default()),
            first,
            outputs: Vec::new(),
            builder: &mut *builder,
        };
        pages.before(&whole)?;
        for _ in 0..pairs / page_pairs {
            pages.page(&page)?;
        }
        if let Some(last_page) = &last_page {
            pages.page(last_page)?;
        }
        pages.finish(&whole)?;
    }
    Ok(())
}

struct Pages<'a, 'b> {
    model: &'a Model,
    pass: Pass<'a>,
    /// The first row of a page.
    first: usize,
    /// The outputs of the pages so far.
    outputs: Vec<u32>,
    builder: &'b mut TraceBuilder,
}

impl Pages<'_, '_> {
    /// What runs once, for all pages.
    fn before(&mut self, sizes: &[u64]) -> Result<(), Reason> {
        for step in 0..=self.first {
            self.pass.step(step, sizes, self.builder)?;
        }
        self.model
            .freed_at(self.first + 1)
            .iter()
            .try_for_each(|&row| self.pass.free(row, self.builder))
    }

    /// One page. Rows from before the pages that it would free are the next page's too.
    fn page(&mut self, sizes: &[u64]) -> Result<(), Reason> {
        for row in self.first..self.model.rows.len() {
            for &freed in self.model.freed_at(row + 1) {
                if freed >= self.first {
                    self.pass.free(freed, self.builder)?;
                }
            }
            self.pass.allocate(row, sizes, self.builder)?;
        }
        for row in self.first..self.model.rows.len() {
            let name = self.model.rows[row].name;
            if name.starts_with(OUTPUTS) {
                self.outputs.extend(self.pass.detach(row));
            } else if !name.starts_with(KEPT_SCRATCH) {
                self.pass.free(row, self.builder)?;
            }
        }
        Ok(self.builder.mark(Mark::Page)?)
    }

    /// The outputs of the pages are concatenated; then everything is freed.
    fn finish(&mut self, sizes: &[u64]) -> Result<(), Reason> {
        for (row, meaning) in self.model.rows.iter().enumerate() {
            if row < self.first && meaning.free_step < self.model.end() {
                self.pass.free(row, self.builder)?;
            }
        }
        for (row, meaning) in self.model.rows.iter().enumerate() {
            if meaning.name.starts_with(OUTPUTS) && meaning.is_result {
                self.pass.allocate(row, sizes, self.builder)?;
            }
        }
        for slot in std::mem::take(&mut self.outputs) {
            self.builder.free(slot, Origin::default())?;
        }
        (0..self.model.rows.len()).try_for_each(|row| self.pass.free(row, self.builder))
    }
}
