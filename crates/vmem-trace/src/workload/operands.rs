//! Which live arrays the kernels of an overlay use.

use vmem_core::Label;

/// How many of the arrays that were made last the next kernel reads.
const LAST: usize = 2;

/// Which arrays the kernels of an overlay read, for programs that run such kernels over its arrays: the
/// models know sizes and lifetimes only.
///
/// One kernel makes each array, out of the two live ones that were made last; in the steps of the face
/// walk, out of the walk's [operands](Self::WALK) as well, which were made long before. What is freed was
/// read by one more kernel just before.
#[derive(Debug, Clone, Default)]
pub struct Operands {
    /// The slots that are live, with their labels, oldest first.
    live: Vec<(u32, Label)>,
}

impl Operands {
    /// What the face walk follows: the next half-edge of each, and how far it has jumped.
    pub const WALK: [&str; 2] = ["graph.next_edge_ids", "fw.jump0"];

    /// The steps of the overlay that the walk happens in; the model unrolls two of its rounds.
    pub const ROUNDS: [&str; 2] = ["fw.r1.label_gather", "fw.r2.label_gather"];

    /// An array is made. Returns the slots of those that the kernel reads which makes it, oldest first.
    pub fn made(&mut self, slot: u32, label: Label) -> Vec<u32> {
        let last = self.live.len().saturating_sub(LAST);
        let walks = Self::ROUNDS.contains(&label.as_str());
        let read = self.live.iter().enumerate();
        let read = read.filter(|&(index, (_, it))| {
            index >= last || walks && Self::WALK.contains(&it.as_str())
        });
        let slots = read.map(|(_, &(slot, _))| slot).collect();
        self.live.push((slot, label));
        slots
    }

    /// An array is freed.
    pub fn freed(&mut self, slot: u32) {
        self.live.retain(|&(live, _)| live != slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_reads_what_was_made_last_and_a_round_of_the_walk_its_operands() {
        let mut operands = Operands::default();
        let names = ["fw.jump0", "a", "b", "c"];
        let read: Vec<Vec<u32>> =
            (0..).zip(names).map(|(slot, name)| operands.made(slot, Label::intern(name))).collect();
        assert_eq!(read, [vec![], vec![0], vec![0, 1], vec![1, 2]]);
        operands.freed(3);
        let round = Label::intern("fw.r1.label_gather");
        assert_eq!(operands.made(3, round), [0, 1, 2]);
    }
}
