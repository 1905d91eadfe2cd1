//! `vmem convert`: a trace in another format.

mod at;
mod torch;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

pub(crate) use at::At;
use vmem_trace::{
    Event, Frames, Trace, write_chrome_trace, write_lifetimes, write_recording, write_rmm_log,
};

use crate::args::Convert;
use crate::console::{Console, Verdict};
use crate::output::Output;
use crate::{Error, traces};

/// A format that a trace is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Rmm,
    Lifetimes,
    Recording,
    Torch,
    Chrome,
}

impl To {
    const ALL: [Self; 5] = [Self::Rmm, Self::Lifetimes, Self::Recording, Self::Torch, Self::Chrome];

    const fn name(self) -> &'static str {
        match self {
            Self::Rmm => "rmm",
            Self::Lifetimes => "lifetimes",
            Self::Recording => "recording",
            Self::Torch => "torch",
            Self::Chrome => "chrome",
        }
    }

    /// The format of a file by its ending.
    fn of_file(path: &Path) -> Option<Self> {
        Some(match path.extension()?.to_str()? {
            "csv" => Self::Rmm,
            "vmem" => Self::Recording,
            "pickle" => Self::Torch,
            "json" => Self::Chrome,
            _ => return None,
        })
    }

    /// What of a trace has no place in the format, in words.
    fn leaves_out(self, trace: &Trace) -> Vec<&'static str> {
        let has = |wanted: fn(&Event) -> bool| trace.events().iter().any(wanted);
        let labels = || {
            has(
                |event| matches!(event, Event::Allocate { label, .. } if !label.as_str().is_empty()),
            )
        };
        let failures = || has(|event| matches!(event, Event::Failure { .. }));
        let marks = || has(|event| matches!(event, Event::Mark(_)));
        let many = |count: u32| count > 1;
        let (rmm, lifetimes, torch) =
            (self == Self::Rmm, self == Self::Lifetimes, self == Self::Torch);
        let all = [
            ("labels", (rmm || lifetimes) && labels()),
            ("failed requests", lifetimes && failures()),
            ("streams", lifetimes && many(trace.streams())),
            ("threads", (lifetimes || torch) && many(trace.threads())),
            ("times", lifetimes && trace.times().is_some()),
            ("marks", (rmm || lifetimes || torch) && marks()),
        ];
        all.into_iter().filter(|&(_, left_out)| left_out).map(|(what, _)| what).collect()
    }
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|to| to.name().eq_ignore_ascii_case(text.trim())).ok_or_else(
            || {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("{text:?} is not a format that traces are written in; accepted: {names}")
            },
        )
    }
}

impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Reads a trace and writes it in another format.
///
/// # Errors
/// Usage, if the file cannot be read as a trace or the output cannot be written to; a replay that fails.
pub(crate) fn run(args: &Convert, console: &mut Console<'_>) -> Result<Verdict, Error> {
    let to = args.to.or_else(|| To::of_file(&args.output)).ok_or_else(|| {
        Error::usage(format!(
            "`{}` does not end in .csv, .vmem, .pickle or .json; --to says which format it is to have: {}",
            args.output.display(),
            To::ALL.map(To::name).join(", ")
        ))
    })?;
    let output = Output::open("--output", &args.output)?;
    let mut options = args.reading.options();
    if to == To::Torch {
        options.frames = Frames::All;
    }
    let reading = traces::reading(&args.trace, &options, args.labelling.sites()?, console.err)?;
    let trace = &reading.trace;
    let mut bytes = Vec::new();
    let mut taken = None;
    match to {
        To::Torch => taken = Some(torch::write(trace, args, &mut bytes)?),
        To::Rmm => write_rmm_log(trace, &mut bytes)?,
        To::Lifetimes => write_lifetimes(trace, &mut bytes)?,
        To::Recording => write_recording(trace, &mut bytes)?,
        To::Chrome => write_chrome_trace(trace, &mut bytes)?,
    }
    let left_out = to.leaves_out(trace);
    if !left_out.is_empty() {
        writeln!(console.err, "note: {to} has no place for {}", left_out.join(", "))?;
    }
    if let Some(taken) = &taken {
        writeln!(console.err, "{taken}")?;
    }
    output.write(&bytes, console.out)?;
    Ok(taken.is_none_or(|taken| taken.passed()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_known_by_its_name() {
        for to in To::ALL {
            assert_eq!(to.name().to_uppercase().parse(), Ok(to));
        }
        let refused = "csv".parse::<To>().unwrap_err();
        assert!(
            refused.contains("accepted: rmm, lifetimes, recording, torch, chrome"),
            "{refused}"
        );
    }
}
