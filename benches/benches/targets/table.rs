//! The lines that are printed.

use std::fmt;

use crate::rounds::{Effort, Spread};

/// What a figure is to come to.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// More than is asked for: not reaching it is no miss.
    Ambition(f64),
    /// Nothing is asked for.
    Free,
}

/// What a figure counts.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Ratio,
    Nanoseconds,
    Bytes,
    /// Of something that happens several times.
    Calls,
    Count,
}

/// Prints a line for each figure as it comes.
pub(crate) struct Table {
    trial: bool,
    met: u32,
    missed: u32,
}

impl Table {
    /// Prints what stands above the lines.
    pub(crate) fn begin(effort: &Effort) -> Self {
        println!(
            "\nTargets: what, measured (median, and quartiles over the rounds), target, verdict\n"
        );
        Self { trial: effort.is_trial(), met: 0, missed: 0 }
    }

    /// A figure that was measured in rounds.
    pub(crate) fn measured(&mut self, what: &str, spread: Spread, unit: Unit, bound: Bound) {
        let Spread { low, median, high } = spread;
        let quartiles = format!("({} to {})", unit.number(low), unit.number(high));
        let verdict = if self.trial { "trial" } else { self.verdict(unit.round(median), bound) };
        Self::line(what, median, &quartiles, (unit, bound), verdict);
    }

    /// A figure that is exact.
    pub(crate) fn exact(&mut self, what: &str, figure: f64, unit: Unit, bound: Bound) {
        let verdict = self.verdict(unit.round(figure), bound);
        Self::line(what, figure, "", (unit, bound), verdict);
    }

    /// Why a figure is not there.
    pub(crate) fn unmeasured(&self, what: &str, why: &str) {
        println!("{what:<WHAT$} not measured: {why}");
    }

    fn line(what: &str, figure: f64, quartiles: &str, asked: (Unit, Bound), verdict: &str) {
        let (unit, bound) = asked;
        let figure = format!("{}{}", unit.number(figure), unit.suffix());
        let target = Asked { bound, unit }.to_string();
        let line = format!("{what:<WHAT$} {figure:>11} {quartiles:<18} {target:<18} {verdict}");
        println!("{}", line.trim_end());
    }

    fn verdict(&mut self, figure: f64, bound: Bound) -> &'static str {
        let reached = match bound {
            Bound::AtMost(most) | Bound::Ambition(most) => figure <= most,
            Bound::AtLeast(least) => figure >= least,
            Bound::Free => return "",
        };
        match (bound, reached) {
            (Bound::Ambition(_), true) => "reached",
            (Bound::Ambition(_), false) => "not reached",
            (_, true) => {
                self.met += 1;
                "met"
            }
            (_, false) => {
                self.missed += 1;
                "MISSED"
            }
        }
    }

    /// Prints what stands below the lines.
    pub(crate) fn end(self) {
        println!("\n{} targets met, {} missed", self.met, self.missed);
        if self.trial {
            println!("A trial run, whose times mean nothing: `cargo bench` measures.");
        }
    }
}

/// How wide the first column is.
const WHAT: usize = 78;

impl Unit {
    const fn decimals(self) -> usize {
        match self {
            Self::Ratio => 3,
            Self::Nanoseconds | Self::Bytes | Self::Calls => 1,
            Self::Count => 0,
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Ratio => " ×",
            Self::Nanoseconds => " ns",
            Self::Bytes => " B",
            Self::Calls | Self::Count => "",
        }
    }

    fn number(self, figure: f64) -> String {
        format!("{figure:.*}", self.decimals())
    }

    /// The figure as it is printed, so that the verdict is what a reader would come to.
    fn round(self, figure: f64) -> f64 {
        self.number(figure).parse().expect("a number was printed")
    }
}

/// A target in words.
struct Asked {
    bound: Bound,
    unit: Unit,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = self.unit.suffix();
        match self.bound {
            Bound::AtMost(most) => write!(f, "at most {most}{suffix}"),
            Bound::AtLeast(least) => write!(f, "at least {least}{suffix}"),
            Bound::Ambition(most) => write!(f, "ambition {most}{suffix}"),
            Bound::Free => f.write_str("-"),
        }
    }
}
