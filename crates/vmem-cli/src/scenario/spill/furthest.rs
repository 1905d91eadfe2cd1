//! The bytes that would move if what is used again the latest were always what goes.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::plan::{Plan, Step};

/// The bytes that go out and come back if a device of `capacity` bytes has everything that a step uses,
/// and what goes is always what is used again the latest: what Bélády's rule says of pages of one size.
/// Nothing that comes back is kept on the host as well.
pub(super) fn moved(plan: &Plan, capacity: u64) -> u64 {
    let mut uses: HashMap<usize, VecDeque<usize>> = HashMap::new();
    for (at, step) in plan.steps.iter().enumerate() {
        step.used().into_iter().for_each(|array| uses.entry(array).or_default().push_back(at));
    }
    // On the device, by when each is used next.
    let mut here: BTreeSet<(usize, usize)> = BTreeSet::new();
    let (mut held, mut moved) = (0, 0);
    for (at, step) in plan.steps.iter().enumerate() {
        let used = step.used();
        for &array in &used {
            if here.remove(&(at, array)) {
                held -= plan.sizes[array];
            } else if !matches!(step, Step::Make { array: made, .. } if *made == array) {
                moved += plan.sizes[array];
            }
        }
        let needs: u64 = used.iter().map(|&array| plan.sizes[array]).sum();
        while held + needs > capacity
            && let Some((_, latest)) = here.pop_last()
        {
            held -= plan.sizes[latest];
            moved += plan.sizes[latest];
        }
        for &array in &used {
            let next = uses.get_mut(&array).and_then(|uses| {
                uses.pop_front();
                uses.front().copied()
            });
            if let Some(next) = next {
                here.insert((next, array));
                held += plan.sizes[array];
            }
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(array: usize, from: &[usize]) -> Step {
        Step::Make { array, from: from.to_vec() }
    }

    #[test]
    fn what_is_used_latest_goes_and_comes_back_once() {
        // 0 is used last, 1 before: with room for two, 0 goes out for 2 and comes back at the end.
        let steps = vec![
            make(0, &[]),
            make(1, &[]),
            make(2, &[1]),
            Step::Finish { array: 2 },
            Step::Finish { array: 1 },
            Step::Finish { array: 0 },
        ];
        let plan = Plan { sizes: vec![10; 3], steps };
        assert_eq!(moved(&plan, 30), 0);
        assert_eq!(moved(&plan, 20), 20);
    }
}
