//! One run of an operation: which rows are allocated and freed in which step.

use vmem_core::Label;

use super::error::Reason;
use super::model::Model;
use crate::{Origin, TraceBuilder};

/// One run of an operation, from its residents (step 0) to freeing what survived (its
/// [end](Model::end)).
#[derive(Debug)]
pub(super) struct Pass<'a> {
    model: &'a Model,
    /// Who allocates.
    origin: Origin,
    /// Who frees the operation's results.
    frees_results: Origin,
    /// The slot of every row that is live.
    slots: Vec<Option<u32>>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(model: &'a Model, origin: Origin) -> Self {
        Self { model, origin, frees_results: origin, slots: vec![None; model.rows.len()] }
    }

    /// The same with its results freed elsewhere.
    pub(super) fn freeing_results_on(self, frees_results: Origin) -> Self {
        Self { frees_results, ..self }
    }

    /// Everything that happens in `step`: frees, then the allocation.
    pub(super) fn step(
        &mut self,
        step: usize,
        sizes: &[u64],
        builder: &mut TraceBuilder,
    ) -> Result<(), Reason> {
        let model = self.model;
        if step == 0 {
            let residents = (0..model.rows.len()).filter(|&row| model.rows[row].is_resident);
            return residents.into_iter().try_for_each(|row| self.allocate(row, sizes, builder));
        }
        for &row in model.freed_at(step) {
            self.free(row, builder)?;
        }
        match model.rows.get(step - 1) {
            Some(row) if !row.is_resident => self.allocate(step - 1, sizes, builder),
            _ => Ok(()),
        }
    }

    /// Allocates a row; nothing happens if it has no elements or is live.
    pub(super) fn allocate(
        &mut self,
        row: usize,
        sizes: &[u64],
        builder: &mut TraceBuilder,
    ) -> Result<(), Reason> {
        if self.slots[row].is_none() && sizes[row] != 0 {
            let label = Label::intern(self.model.rows[row].name);
            self.slots[row] = Some(builder.allocate(sizes[row], self.origin, label)?);
        }
        Ok(())
    }

    /// Frees a row; nothing happens if it is not live.
    pub(super) fn free(&mut self, row: usize, builder: &mut TraceBuilder) -> Result<(), Reason> {
        let origin = if self.model.rows[row].is_result { self.frees_results } else { self.origin };
        if let Some(slot) = self.slots[row].take() {
            builder.free(slot, origin)?;
        }
        Ok(())
    }

    /// Gives up a row without freeing it, so that it can be allocated once more.
    pub(super) fn detach(&mut self, row: usize) -> Option<u32> {
        self.slots[row].take()
    }
}
