//! What is cheapest to do about a refusal.

use super::{Case, Missing, Need};
use crate::bytes::show;
use crate::grouping::UNLABELLED;

/// How many are told.
const TOLD: usize = 3;

/// How many parts a request may be asked for in, to be called a remedy.
const MOST_PARTS: u64 = 8;

/// Something that would have let the request be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remedy {
    pub(crate) price: Price,
    pub(crate) text: String,
}

/// What a remedy costs, cheapest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Price {
    /// A wait, and no memory.
    Wait,
    /// Another configuration, and no memory.
    Configuration,
    /// Other code, and no memory.
    Code,
    /// Memory.
    Memory,
    /// Time, wherever the memory is touched.
    Speed,
}

impl Price {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Wait => "costs a wait",
            Self::Configuration => "costs a change of configuration",
            Self::Code => "costs a change of the program",
            Self::Memory => "costs memory",
            Self::Speed => "costs time wherever the memory is touched",
        }
    }
}

/// The three cheapest.
pub(super) fn cheapest(case: &Case, missing: &Missing, needs: &[Need]) -> Vec<Remedy> {
    let mut found: Vec<_> = [
        synchronise(case),
        another_stack(case, needs),
        in_parts(case, missing),
        go(case, missing),
        later(case, missing),
        more(case, missing, needs),
        spill(),
    ]
    .into_iter()
    .flatten()
    .collect();
    found.sort_by_key(|remedy| remedy.price);
    found.truncate(TOLD);
    found
}

/// Memory that only a synchronisation of the device frees.
fn synchronise(case: &Case) -> Option<Remedy> {
    let quarantined = case.report.as_ref()?.quarantined;
    (quarantined >= case.rounded()).then(|| Remedy {
        price: Price::Wait,
        text: format!(
            "synchronise the device once (PoolHandle::synchronize): {} are in quarantine until then",
            show(quarantined)
        ),
    })
}

/// A stack that serves it on no larger a device.
fn another_stack(case: &Case, needs: &[Need]) -> Option<Remedy> {
    let most = case.most?;
    // The first that fits is what was asked about first, or what is recommended; the smallest is often
    // a driver call for each block.
    let fits = |need: &&Need| {
        let other = case.stack.as_ref() != Some(&need.name);
        other && need.bytes.as_ref().is_ok_and(|&bytes| bytes <= most)
    };
    needs.iter().find(fits).map(|need| Remedy {
        price: Price::Configuration,
        text: format!("on another stack the {} are enough: {need}", show(most)),
    })
}

/// Smaller requests that fit where memory is free.
fn in_parts(case: &Case, missing: &Missing) -> Option<Remedy> {
    let (largest, free) = (missing.largest_free.filter(|&bytes| bytes > 0)?, missing.free?);
    let parts = case.rounded().div_ceil(largest);
    ((2..=MOST_PARTS).contains(&parts) && free >= case.rounded()).then(|| Remedy {
        price: Price::Code,
        text: format!(
            "ask for it in parts of at most {}, the largest free block: {} are free in all",
            show(largest),
            show(free)
        ),
    })
}

/// Blocks that would have had to be freed before.
fn go(case: &Case, missing: &Missing) -> Option<Remedy> {
    let Some(largest) = missing.blocks.first() else {
        let fits = missing.short.is_none_or(|short| short == 0);
        let window = missing.window.filter(|window| fits && window.pieces > 0)?;
        return Some(Remedy {
            price: Price::Code,
            text: format!(
                "free the {} that lie in {} {} between {:#x} and {:#x} before the request",
                show(window.live),
                window.pieces,
                if window.pieces == 1 { "piece" } else { "pieces" },
                window.start,
                window.start + window.size
            ),
        });
    };
    let label = match largest.label.as_str() {
        "" => UNLABELLED,
        name => name,
    };
    let age = case
        .index
        .map(|index| format!(", allocated {} before", events(index.saturating_sub(largest.since))));
    let bytes: u64 = missing.blocks.iter().map(|block| block.size).sum();
    let others = match missing.blocks.len() - 1 {
        0 => String::new(),
        1 => format!(" and another one, {} in all", show(bytes)),
        n => format!(" and {n} others, {} in all", show(bytes)),
    };
    let size = show(largest.size);
    Some(Remedy {
        price: Price::Code,
        text: format!(
            "free the block of {size} ({label}{}){others} before the request",
            age.unwrap_or_default()
        ),
    })
}

/// The same request later, once others have been freed.
fn later(case: &Case, missing: &Missing) -> Option<Remedy> {
    let wait = case.room_after.filter(|_| missing.short.is_some_and(|short| short > 0))?;
    Some(Remedy {
        price: Price::Code,
        text: format!(
            "ask {} later: so much has been freed by then that it fits by bytes",
            events(wait)
        ),
    })
}

/// `1 event`, `2 events`.
pub(crate) fn events(count: usize) -> String {
    format!("{count} {}", if count == 1 { "event" } else { "events" })
}

/// A larger device, or limit.
fn more(case: &Case, missing: &Missing, needs: &[Need]) -> Option<Remedy> {
    let above = |need: &&Need| {
        let bytes = need.bytes.as_ref().ok();
        bytes.is_some_and(|&bytes| case.most.is_none_or(|most| bytes > most))
    };
    let own = needs.iter().filter(above).find(|need| case.stack.as_ref() == Some(&need.name));
    let least = || needs.iter().filter(above).min_by_key(|need| need.bytes.as_ref().ok().copied());
    let text = match (own.or_else(least), case.most, missing.short) {
        (Some(Need { name, bytes: Ok(bytes) }), Some(most), _) => format!(
            "give it {}, which is {} more: enough on {name}",
            show(*bytes),
            show(bytes - most)
        ),
        (Some(Need { name, bytes: Ok(bytes) }), None, _) => {
            format!("give it {}: enough on {name}", show(*bytes))
        }
        (_, Some(_), Some(short)) if short > 0 => format!("give it at least {} more", show(short)),
        _ => return None,
    };
    Some(Remedy { price: Price::Memory, text })
}

/// What always works, and is slow.
fn spill() -> Option<Remedy> {
    Some(Remedy {
        price: Price::Speed,
        text: "use managed memory (tier c), which holds more than the device does".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use vmem_core::{ExhaustionReport, Label};

    use super::*;
    use crate::composition::{Composition, Held};

    fn case(most: u64) -> Case {
        let held = vec![
            Held { size: 600, label: Label::intern("cache"), stream: 0, since: 10 },
            Held { size: 300, label: Label::NONE, stream: 0, since: 20 },
        ];
        Case {
            stack: Some("own".to_owned()),
            text: None,
            index: Some(50),
            times: 1,
            asked: 400,
            label: None,
            stream: None,
            most: Some(most),
            report: Some(ExhaustionReport::new(400)),
            frame: None,
            live: Composition::of(50, held.iter()),
            held,
            room_after: Some(3),
        }
    }

    fn need(name: &str, bytes: u64) -> Need {
        Need { name: name.to_owned(), bytes: Ok(bytes) }
    }

    #[test]
    fn another_stack_comes_before_other_code_and_that_before_memory() {
        let refusal = case(1000).explained(vec![need("own", 1500), need("other", 990)]);
        let prices: Vec<_> = refusal.remedies.iter().map(|remedy| remedy.price).collect();
        assert_eq!(prices, [Price::Configuration, Price::Code, Price::Code]);
        assert!(refusal.remedies[0].text.contains("other serves it on a device of 990 B"));
        assert!(refusal.remedies[1].text.starts_with("free the block of 300 B (unlabelled"));
        assert!(refusal.remedies[2].text.starts_with("ask 3 events later"));
    }

    #[test]
    fn a_stack_that_needs_more_than_there_is_is_no_remedy_but_tells_how_much() {
        let case = Case { room_after: None, ..case(1000) };
        let refusal = case.explained(vec![need("own", 1500), need("other", 1400)]);
        let [_, last, slow] = &refusal.remedies[..] else { panic!("{refusal}") };
        assert_eq!(slow.price, Price::Speed);
        assert_eq!(last.text, "give it 1.465 KiB, which is 500 B more: enough on own");
        assert_eq!(last.price, Price::Memory);
    }

    #[test]
    fn memory_in_quarantine_that_is_enough_costs_a_wait_only() {
        let mut case = case(2000);
        let mut report = ExhaustionReport::new(400);
        report.quarantined = 500;
        case.report = Some(report);
        let refusal = case.explained(Vec::new());
        assert_eq!(refusal.remedies[0].price, Price::Wait);
    }
}
