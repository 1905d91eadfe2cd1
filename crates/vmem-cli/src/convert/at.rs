//! The moment of a trace at which a picture of memory is taken.

use std::fmt;
use std::str::FromStr;

use vmem_trace::{Event, Trace};

/// A moment of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// When most is live, for the first time.
    Peak,
    /// After the last event.
    End,
    /// After the event of that index.
    Event(usize),
}

impl At {
    /// How many events have happened then.
    ///
    /// # Errors
    /// The events there are, if that one is not among them.
    pub(super) fn events(self, trace: &Trace) -> Result<usize, String> {
        let all = trace.events().len();
        match self {
            Self::Peak => Ok(peak(trace)),
            Self::End => Ok(all),
            Self::Event(index) if index < all => Ok(index + 1),
            Self::Event(index) => Err(format!(
                "the trace has no event {index}; accepted: peak, end, 0 to {}",
                all - 1
            )),
        }
    }
}

/// How many events have happened when most is live.
fn peak(trace: &Trace) -> usize {
    let (mut live, mut most, mut at) = (0, 0, 0);
    let mut sizes = std::collections::HashMap::new();
    for (index, event) in trace.events().iter().enumerate() {
        match *event {
            Event::Allocate { slot, size, .. } => {
                sizes.insert(slot, size);
                live += size;
                if live > most {
                    (most, at) = (live, index + 1);
                }
            }
            Event::Free { slot, .. } => live -= sizes.remove(&slot).unwrap_or_default(),
            _ => {}
        }
    }
    at
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "peak" => Ok(Self::Peak),
            "end" => Ok(Self::End),
            number => number.parse().map(Self::Event).map_err(|_| {
                format!("{text:?} is no moment; accepted: peak, end, an event's index")
            }),
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peak => f.write_str("peak"),
            Self::End => f.write_str("end"),
            Self::Event(index) => write!(f, "{index}"),
        }
    }
}
