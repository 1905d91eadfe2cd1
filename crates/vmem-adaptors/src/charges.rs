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
        // The earlier block was freed without passing any limit.
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use vmem_core::author::BlockTable;
    use vmem_core::{Block, BlockLayout, DevicePtr, Label};

    fn block() -> Block {
        let ptr = DevicePtr::new(4096).expect("not zero");
        let layout = BlockLayout::new(100).expect("a valid size");
        BlockTable::new().issue(ptr, layout, Label::NONE, ())
    }

    #[test]
    fn charges_of_a_budget_that_nobody_has_are_forgotten_and_others_are_not() {
        let kept = Budget::new(1000);
        let [of_both, of_one] = [(); 2].map(|()| block().into_raw());
        {
            let dropped = Budget::new(1000);
            keep(dropped.charge(100).unwrap(), &of_both);
            keep(kept.charge(100).unwrap(), &of_both);
            keep(dropped.charge(100).unwrap(), &of_one);
        }
        assert!(CHARGES.take(&of_one).is_none());
        assert_eq!(kept.used(), 100);
        take(of_both).give_back(&kept);
        assert_eq!(kept.used(), 0);
        assert!(CHARGES.take(&of_both).is_none());
    }

    #[test]
    fn charges_that_were_taken_and_not_given_back_stay() {
        let budget = Budget::new(1000);
        let raw = block().into_raw();
        keep(budget.charge(100).unwrap(), &raw);
        drop(take(raw));
        assert_eq!(budget.used(), 100);
        take(raw).give_back(&budget);
        assert_eq!(budget.used(), 0);
    }
}
