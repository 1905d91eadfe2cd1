//! Which blocks are charged to which budgets, in the whole process.
//!
//! A block is credited where it was charged, through whichever limit it is freed: limits over one
//! upstream, or one inside the other, find here what another of them has charged.

#![forbid(unsafe_code)]

use std::sync::Weak;

use vmem_core::RawBlock;

use crate::blocks::BlockMap;
use crate::budget::Inner;
use crate::{Budget, Charge};

static CHARGES: BlockMap<Charges> = BlockMap::new();

/// What one block is charged to.
struct Charges {
    budget: Weak<Inner>,
    bytes: u64,
    /// What other limits that it passed charged.
    others: Option<Box<Self>>,
}

/// Keeps a charge until its block is freed through a limit.
pub(crate) fn keep(charge: Charge<'_>, block: &RawBlock) {
    let (budget, bytes) = charge.leave();
    let charges = Charges { budget, bytes, others: None };
    if let Some(of_a_former_block) = CHARGES.enter(block, charges, Charges::add) {
        // That one was freed past every limit.
        of_a_former_block.give_back(None);
    }
}

/// The charges of a block that is about to be freed. They stay, unless they are given back.
pub(crate) struct Taken {
    block: RawBlock,
    charges: Option<Charges>,
}

/// Takes a block's charges out, so that they are not taken for those of the next block in its place.
pub(crate) fn take(block: RawBlock) -> Taken {
    Taken { charges: CHARGES.take(&block), block }
}

impl Taken {
    /// Gives everything back: the block is freed. `own` is the budget that most likely was charged.
    pub(crate) fn give_back(mut self, own: &Budget) {
        if let Some(charges) = self.charges.take() {
            charges.give_back(Some(own));
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(charges) = self.charges.take() {
            CHARGES.enter(&self.block, charges, Charges::add);
        }
    }
}

/// Forgets charges of budgets that nobody has any more.
pub(crate) fn forget_the_dead() {
    CHARGES.retain(|charges| {
        std::iter::successors(Some(&*charges), |charges| charges.others.as_deref())
            .any(|charges| charges.budget.strong_count() != 0)
    });
}

impl Charges {
    fn add(&mut self, other: Self) {
        let mut last = &mut self.others;
        while let Some(charges) = last {
            last = &mut charges.others;
        }
        *last = Some(Box::new(other));
    }

    fn give_back(self, own: Option<&Budget>) {
        let mut next = Some(self);
        while let Some(Self { budget, bytes, others }) = next {
            match own.filter(|own| own.is(&budget)) {
                Some(own) => own.give_back(bytes),
                None => {
                    if let Some(budget) = budget.upgrade() {
                        budget.give_back(bytes);
                    }
                }
            }
            next = others.map(|others| *others);
        }
    }
}
