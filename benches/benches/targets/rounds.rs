//! Measuring two things by turns.

use std::time::{Duration, Instant};

/// One of two sides: does so many units of work, and says how long they took.
pub(crate) type Side<'a> = &'a mut dyn FnMut(u32) -> Duration;

/// How much is measured.
pub(crate) struct Effort {
    rounds: u32,
    /// How long the slower side takes in a round, about.
    round: Duration,
}

impl Effort {
    const FULL: Self = Self { rounds: 320, round: Duration::from_millis(2) };
    const TRIAL: Self = Self { rounds: 1, round: Duration::ZERO };

    /// All there is if cargo runs the program as a bench, else a trial. Other arguments are
    /// criterion's, which every bench is given.
    pub(crate) fn asked_for() -> Self {
        if std::env::args().any(|argument| argument == "--bench") {
            Self::FULL
        } else {
            Self::TRIAL
        }
    }

    /// Whether the figures mean nothing.
    pub(crate) fn is_trial(&self) -> bool {
        self.rounds == Self::TRIAL.rounds
    }

    /// How many rounds there are.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Lets both sides do the same work by turns, in every round the other one first, and keeps the
    /// quarter of the rounds that took least: those that other work on the machine disturbed least.
    pub(crate) fn compare(&self, first: Side<'_>, second: Side<'_>) -> Rounds {
        let units = self.calibrate(first, second);
        let per_unit = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(units);
        let rounds = (0..self.rounds).map(|round| {
            if round % 2 == 0 {
                let first = first(units);
                (per_unit(first), per_unit(second(units)))
            } else {
                let second = second(units);
                (per_unit(first(units)), per_unit(second))
            }
        });
        let mut rounds: Vec<_> = rounds.collect();
        rounds.sort_by(|one, other| f64::total_cmp(&(one.0 + one.1), &(other.0 + other.1)));
        rounds.truncate(rounds.len().div_ceil(4));
        Rounds(rounds)
    }

    /// How many units of work take the slower side a round; finding out warms both up. Of several
    /// tries the fastest counts, as the others were disturbed.
    pub(crate) fn calibrate(&self, first: Side<'_>, second: Side<'_>) -> u32 {
        let mut units = 1;
        loop {
            let tries = (0..TRIES).map(|_| first(units).max(second(units)));
            let slower = tries.min().expect("there are tries");
            if slower * 2 > self.round {
                return units;
            }
            let factor = self.round.as_secs_f64() / slower.as_secs_f64();
            units *= if factor > 16.0 { 16 } else { 2 };
        }
    }
}

/// Tries at finding out how long something takes.
const TRIES: u32 = 3;

/// How long `units` calls of `unit` take.
pub(crate) fn time(units: u32, mut unit: impl FnMut()) -> Duration {
    let begin = Instant::now();
    for _ in 0..units {
        unit();
    }
    begin.elapsed()
}

/// The nanoseconds that a unit of work took each side, in every round.
pub(crate) struct Rounds(Vec<(f64, f64)>);

impl Rounds {
    /// The first side over the second.
    pub(crate) fn ratio(&self) -> Spread {
        Spread::of(self.0.iter().map(|(first, second)| first / second))
    }

    /// How much more the first side takes than the second, in nanoseconds.
    pub(crate) fn difference(&self) -> Spread {
        Spread::of(self.0.iter().map(|(first, second)| first - second))
    }

    /// What the first side takes, in nanoseconds.
    pub(crate) fn first(&self) -> Spread {
        Spread::of(self.0.iter().map(|(first, _)| *first))
    }

    /// What the second side takes, in nanoseconds.
    pub(crate) fn second(&self) -> Spread {
        Spread::of(self.0.iter().map(|(_, second)| *second))
    }
}

/// The median of many figures, and their quartiles.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    pub(crate) fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<_> = figures.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |quarters: usize| sorted[(sorted.len() - 1) * quarters / 4];
        Self { low: at(1), median: at(2), high: at(3) }
    }

    /// Every figure times `factor`.
    pub(crate) fn times(self, factor: f64) -> Self {
        let Self { low, median, high } = self;
        Self { low: low * factor, median: median * factor, high: high * factor }
    }
}
