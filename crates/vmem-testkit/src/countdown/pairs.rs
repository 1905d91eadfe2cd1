//! One scenario with pairs of driver calls failed.

use std::borrow::Cow;
use std::collections::BTreeSet;

use vmem_core::DriverCode;

use super::{Fault, Fired};
use crate::rng::Rng;

/// A sweep over pairs of failing calls: what undoes one failure may fail too.
///
/// The second call is counted from the first that failed, because what follows a failure is not
/// what would have followed without it.
///
/// ```
/// use vmem_core::{DeviceMemory, DriverCode, ResourceExt, Stream};
/// use vmem_sim::SimDevice;
/// use vmem_testkit::{Countdown, Pairs};
///
/// let fired = Pairs::default().sweep(|fault| {
///     let countdown = Countdown::new(SimDevice::new(1 << 20));
///     let stream = Stream::new(countdown.clone()).unwrap();
///     let memory = DeviceMemory::new(countdown.clone());
///     fault.arm(&countdown);
///     for _ in 0..2 {
///         drop(memory.buffer(4096, &stream));
///     }
///     countdown.disarm();
///     countdown
/// });
/// // After whichever call of the first life fails, each of the three of the second does, with three
/// // pairs of codes.
/// assert!(fired >= 27);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairs {
    /// The codes that the two calls answer; each pair of codes is tried with all chosen pairs of calls.
    pub codes: Vec<[DriverCode; 2]>,
    /// A scenario in which more calls than this can fail does not end.
    pub cap: u64,
    /// The most pairs of calls for each pair of codes: all, if there are no more.
    ///
    /// Otherwise they are chosen, in this order, until there are so many: the pairs of calls that
    /// follow each other; a call and the next of the same name; one pair for each two names; any.
    pub most: usize,
    /// Chooses.
    pub seed: u64,
}

impl Default for Pairs {
    /// Exhaustion twice, exhaustion and then a fault, a fault twice; at most 1000 pairs each.
    fn default() -> Self {
        let (oom, fault) = (DriverCode::OUT_OF_MEMORY, DriverCode::UNKNOWN);
        let codes = vec![[oom, oom], [oom, fault], [fault, fault]];
        Self { codes, cap: 10_000, most: 1000, seed: 0 }
    }
}

/// Two calls: the first by its number, the second by how many calls later it is.
type Pair = (u64, u64);

impl Pairs {
    /// Runs `scenario` with one failing call for each there is, to learn which calls follow, then
    /// with the pairs. Returns for how many runs both calls failed.
    ///
    /// A run is as in [`sweep`](super::sweep), and must do the same for the same faults.
    ///
    /// # Panics
    /// If the scenario does; if a fault still fires after `cap` runs with one code; and if in no run
    /// both calls fail, because then the sweep shows nothing.
    pub fn sweep<F: Into<Fired>>(&self, mut scenario: impl FnMut(Fault) -> F) -> u64 {
        let mut both = 0;
        for &[first, second] in &self.codes {
            let mut single = Vec::new();
            loop {
                let n = single.len() as u64 + 1;
                assert!(n <= self.cap, "a fault still fires in run {n}: the scenario does not end");
                let Fired { failed, since } = scenario(Fault::new(n, first)).into();
                let Some(name) = failed.into_iter().next() else { break };
                single.push((name, since));
            }
            for (n, later) in self.choose(&single) {
                let fault = Fault { then: Some((later, second)), ..Fault::new(n, first) };
                both += u64::from(scenario(fault).into().failed.len() > 1);
            }
        }
        assert_ne!(both, 0, "no second driver call was ever reached while armed");
        both
    }

    /// The pairs to run, of those that `single`, by number of the failing call, shows to be there.
    fn choose(&self, single: &[(Cow<'static, str>, Vec<Cow<'static, str>>)]) -> Vec<Pair> {
        let mut all: Vec<(Pair, [&str; 2])> = Vec::new();
        for (n, (name, since)) in (1..).zip(single) {
            all.extend((1..).zip(since).map(|(later, then)| ((n, later), [&**name, &**then])));
        }
        if all.len() <= self.most {
            return all.into_iter().map(|(pair, _)| pair).collect();
        }
        let mut rng = Rng::new(self.seed);
        for i in (1..all.len()).rev() {
            all.swap(i, rng.index(i + 1));
        }
        let next_of_its_name = |n: u64| {
            let (name, since) = &single[usize::try_from(n - 1).ok()?];
            (1..).zip(since).find_map(|(later, then)| (name == then).then_some(later))
        };
        let mut names = BTreeSet::new();
        let mut ranked = Vec::new();
        for ((n, later), both) in all {
            let rank = match later {
                1 => 0,
                _ if Some(later) == next_of_its_name(n) => 1,
                _ if names.insert(both) => 2,
                _ => 3,
            };
            ranked.push((rank, (n, later)));
        }
        ranked.sort_by_key(|&(rank, _)| rank);
        ranked.into_iter().take(self.most).map(|(_, pair)| pair).collect()
    }
}
