//! A list of free blocks in the order of their addresses.

#![forbid(unsafe_code)]

/// A free range of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FreeBlock {
    pub(super) start: u64,
    pub(super) size: u64,
    /// Whether it is the start of an upstream allocation, and so never joins what lies before it.
    pub(super) is_head: bool,
}

/// A doubly linked list, as RMM's is, so that searching it costs what it costs there: every
/// operation walks it, and taking a block always walks all of it. O(blocks).
#[derive(Debug)]
pub(super) struct FreeList {
    /// The links of the first node are the list's ends; its block is not one of the list's.
    nodes: Vec<Node>,
    vacant: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    block: FreeBlock,
    previous: usize,
    next: usize,
}

/// The node before the first and after the last.
const END: usize = 0;

impl FreeBlock {
    /// Whether `next` continues this block, so that the two can be one.
    fn joins(&self, next: &Self) -> bool {
        self.start + self.size == next.start && !next.is_head
    }
}

impl FreeList {
    pub(super) fn new() -> Self {
        let block = FreeBlock { start: 0, size: 0, is_head: true };
        Self { nodes: vec![Node { block, previous: END, next: END }], vacant: Vec::new() }
    }

    /// Adds a block, joined with the neighbours that it touches.
    pub(super) fn insert(&mut self, mut block: FreeBlock) {
        let mut next = self.nodes[END].next;
        while next != END && self.nodes[next].block.start < block.start {
            next = self.nodes[next].next;
        }
        let previous = self.nodes[next].previous;
        if next != END && block.joins(&self.nodes[next].block) {
            block.size += self.nodes[next].block.size;
            self.remove(next);
        }
        let before = &mut self.nodes[previous].block;
        if previous != END && before.joins(&block) {
            before.size += block.size;
        } else {
            self.insert_after(previous, block);
        }
    }

    /// Takes the smallest block of at least `size` bytes, the first of several.
    pub(super) fn take(&mut self, size: u64) -> Option<FreeBlock> {
        let (mut best, mut best_size) = (END, u64::MAX);
        let mut at = self.nodes[END].next;
        while at != END {
            let node = &self.nodes[at];
            if (size..best_size).contains(&node.block.size) {
                (best, best_size) = (at, node.block.size);
            }
            at = node.next;
        }
        (best != END).then(|| self.remove(best))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes[END].next == END
    }

    /// The blocks, by address.
    pub(super) fn iter(&self) -> impl Iterator<Item = FreeBlock> {
        let link = |at: usize| (at != END).then_some(at);
        let first = link(self.nodes[END].next);
        std::iter::successors(first, move |&at| link(self.nodes[at].next))
            .map(|at| self.nodes[at].block)
    }

    fn insert_after(&mut self, previous: usize, block: FreeBlock) {
        let next = self.nodes[previous].next;
        let node = Node { block, previous, next };
        let at = match self.vacant.pop() {
            Some(at) => {
                self.nodes[at] = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        self.nodes[previous].next = at;
        self.nodes[next].previous = at;
    }

    fn remove(&mut self, at: usize) -> FreeBlock {
        let Node { block, previous, next } = self.nodes[at];
        self.nodes[previous].next = next;
        self.nodes[next].previous = previous;
        self.vacant.push(at);
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(blocks: &[(u64, u64)]) -> FreeList {
        let mut list = FreeList::new();
        for &(start, size) in blocks {
            list.insert(FreeBlock { start, size, is_head: false });
        }
        list
    }

    fn ranges(list: &FreeList) -> Vec<(u64, u64)> {
        list.iter().map(|block| (block.start, block.size)).collect()
    }

    #[test]
    fn blocks_join_the_neighbours_they_touch() {
        let mut list = list(&[(300, 50), (100, 50), (200, 50)]);
        assert_eq!(ranges(&list), [(100, 50), (200, 50), (300, 50)]);
        list.insert(FreeBlock { start: 250, size: 50, is_head: false });
        list.insert(FreeBlock { start: 80, size: 20, is_head: false });
        assert_eq!(ranges(&list), [(80, 70), (200, 150)]);
    }

    #[test]
    fn upstream_allocations_never_join() {
        let mut list = list(&[(100, 50)]);
        list.insert(FreeBlock { start: 150, size: 50, is_head: true });
        list.insert(FreeBlock { start: 200, size: 50, is_head: false });
        assert_eq!(ranges(&list), [(100, 50), (150, 100)]);
    }

    #[test]
    fn the_tightest_block_is_taken_and_the_lowest_of_equals() {
        let mut list = list(&[(100, 90), (200, 50), (300, 50), (400, 40)]);
        let start = |block: Option<FreeBlock>| block.map(|block| block.start);
        assert_eq!(start(list.take(41)), Some(200));
        assert_eq!(start(list.take(41)), Some(300));
        assert_eq!(start(list.take(91)), None);
        assert_eq!(ranges(&list), [(100, 90), (400, 40)]);
    }
}
