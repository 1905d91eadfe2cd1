//! Named workloads that show what each tier is for.

mod face_walk;
mod reclaim;
mod set_up_failure;
mod spill;
mod turns;

use std::fmt;
use std::str::FromStr;

use face_walk::Walk;
use spill::{Over, Reading};
use vmem_trace::{Log, Workload};

use crate::Error;
use crate::args::Bench;
use crate::measure::{Job, Place, Question};
use crate::tier::Tier;

/// What `--workload` accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// A generated workload.
    Workload(Workload),
    /// What a real program asked for.
    Log(Log),
    /// A scenario of its own.
    Scenario(Scenario),
}

/// A workload that shows what a tier is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// A reclaimable cache fills the device: A fails, B finishes.
    Reclaim,
    /// An overlay whose live peak is 1.5 times the device finishes on C.
    FaceWalk(Walk),
    /// Building the stack fails: the runtime falls back.
    SetUpFailure,
    /// An overlay whose live peak is over the ceiling spills, on B.
    Spill(Over, Reading),
    /// A cache twice as large as the ceiling spills, on B.
    SpillCache,
    /// Two models of which one fits take turns, by sleep and wake, on A and B.
    Turns,
}

impl Item {
    /// What runs unless something else is asked for.
    pub(crate) fn workloads() -> impl Iterator<Item = Self> {
        let generated = Workload::ALL.into_iter().map(Self::Workload);
        generated.chain(Log::ALL.into_iter().map(Self::Log))
    }

    fn all() -> impl Iterator<Item = Self> {
        Self::workloads().chain(Scenario::ALL.iter().copied().map(Self::Scenario))
    }
}

impl Scenario {
    const ALL: &[Self] = &[
        Self::Reclaim,
        Self::FaceWalk(Walk::Local),
        Self::FaceWalk(Walk::Global),
        Self::FaceWalk(Walk::Dependent),
        Self::SetUpFailure,
        Self::Spill(Over::Fifth, Reading::Streaming),
        Self::Spill(Over::Fifth, Reading::Random),
        Self::Spill(Over::Fifth, Reading::Chasing),
        Self::Spill(Over::Half, Reading::Streaming),
        Self::Spill(Over::Half, Reading::Random),
        Self::Spill(Over::Half, Reading::Chasing),
        Self::Spill(Over::Twice, Reading::Streaming),
        Self::Spill(Over::Twice, Reading::Random),
        Self::Spill(Over::Twice, Reading::Chasing),
        Self::SpillCache,
        Self::Turns,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Reclaim => "reclaim",
            Self::FaceWalk(walk) => walk.name(),
            Self::SetUpFailure => "set-up-failure",
            Self::Spill(over, reading) => spill::name(over, reading),
            Self::SpillCache => "spill-cache",
            Self::Turns => "turns",
        }
    }

    /// The tiers that it says something about.
    const fn tiers(self) -> &'static [&'static str] {
        match self {
            Self::Reclaim => &["a", "b"],
            Self::FaceWalk(_) => &["c"],
            Self::SetUpFailure => &["a", "b"],
            Self::Spill(..) | Self::SpillCache => &["b"],
            Self::Turns => &["a", "b"],
        }
    }

    /// The scenario on those of its tiers that were asked for. It chooses the device's capacity
    /// itself.
    ///
    /// # Errors
    /// Usage, if none of its tiers was asked for, the scale is too large, or the device is hardware.
    pub(crate) fn jobs(self, args: &Bench, place: &Place) -> Result<Vec<Job>, Error> {
        if !place.target.is_simulated() {
            return Err(Error::usage(format!("{self} runs on the simulated device only")));
        }
        if place.question != Question::Cost {
            return Err(Error::usage(format!(
                "{self} chooses its device itself; --min-device takes workloads"
            )));
        }
        let wanted = args.common.tier.iter().filter(|tier| self.tiers().contains(&tier.name));
        let tiers: Vec<Tier> = wanted.copied().collect();
        if tiers.is_empty() {
            let accepted = self.tiers().join(", ");
            return Err(Error::usage(format!("{self} runs on these tiers only: {accepted}")));
        }
        let scale = args.scale.unwrap_or_else(|| Workload::Overlay.defaults().scale);
        let job = |tier: Tier| match self {
            Self::Reclaim => reclaim::job(tier, scale, place.clone()),
            Self::FaceWalk(walk) => face_walk::job(walk, tier, scale, place.clone()),
            Self::SetUpFailure => set_up_failure::job(tier, scale, place.clone()),
            Self::Spill(over, reading) => spill::job((over, reading), tier, scale, place.clone()),
            Self::SpillCache => spill::cache(tier, scale, place.clone()),
            Self::Turns => Ok(turns::job(tier, place.clone())),
        };
        tiers
            .into_iter()
            .map(|tier| {
                job(tier).map_err(|error| {
                    Error::usage(format!("--scale {scale} is too much for {self}: {error}"))
                })
            })
            .collect()
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(workload) => workload.fmt(f),
            Self::Log(log) => log.fmt(f),
            Self::Scenario(scenario) => scenario.fmt(f),
        }
    }
}

impl FromStr for Item {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.trim();
        Self::all().find(|item| item.to_string().eq_ignore_ascii_case(wanted)).ok_or_else(|| {
            let names: Vec<_> = Self::all().map(|item| item.to_string()).collect();
            format!("{text:?} is not a workload; accepted: {}", names.join(", "))
        })
    }
}
