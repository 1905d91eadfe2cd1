//! A steady number of blocks of random sizes, one of which is replaced at a time.

use std::ops::RangeInclusive;

use super::{Held, Memory};

/// Live blocks, and the random numbers that choose among them.
pub(crate) struct Churn {
    sizes: RangeInclusive<u64>,
    live: Vec<Held>,
    random: u64,
}

impl Churn {
    /// So many live blocks, every one of which has been replaced about once.
    pub(crate) fn new(live: usize, sizes: RangeInclusive<u64>, memory: &mut Memory) -> Self {
        let mut churn = Self::empty(live, sizes);
        churn.fill(memory);
        churn
    }

    /// Room for so many live blocks.
    pub(crate) fn empty(live: usize, sizes: RangeInclusive<u64>) -> Self {
        Self { sizes, live: Vec::with_capacity(live), random: 0 }
    }

    /// Allocates as many blocks as there is room for, and replaces every one about once.
    pub(crate) fn fill(&mut self, memory: &mut Memory) {
        let room = self.live.capacity();
        while self.live.len() < room {
            let size = self.size();
            self.live.push(memory.allocate(size, 0));
        }
        for _ in 0..room {
            self.step(memory);
        }
    }

    /// Frees a random block and allocates one of random size.
    pub(crate) fn step(&mut self, memory: &mut Memory) {
        let len = self.live.len() as u64;
        let at = usize::try_from(self.below(len)).expect("it is an index");
        let held = self.live.swap_remove(at);
        memory.free(held, 0);
        let size = self.size();
        self.live.push(memory.allocate(size, 0));
    }

    /// Frees all.
    pub(crate) fn end(self, memory: &mut Memory) {
        for held in self.live {
            memory.free(held, 0);
        }
    }

    fn size(&mut self) -> u64 {
        let (least, most) = (*self.sizes.start(), *self.sizes.end());
        least + self.below(most - least + 1)
    }

    /// A number below `bound`, by Steele, Lea and Flood's `SplitMix64` ("Fast splittable
    /// pseudorandom number generators", 2014).
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
