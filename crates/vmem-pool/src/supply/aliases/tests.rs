//! Aliases without a driver.

use super::*;
use crate::space::{CLEAN, Fit, RangeState, Space};
use crate::supply::Memory;

fn need(size: u64) -> Need {
    Need { size, alignment: 1 }
}

fn three() -> Aliases {
    let mut aliases = Aliases::new(1000);
    aliases.add(Span::new(3000, 104), 3000, vec![Span::between(300, 404)]);
    aliases.add(Span::new(1000, 100), 1000, vec![Span::between(0, 60), Span::between(80, 120)]);
    aliases.add(Span::new(2000, 100), 2000, vec![Span::between(200, 300)]);
    [1000, 2000, 3000].into_iter().for_each(|start| aliases.put(start));
    aliases
}

#[test]
fn the_oldest_idle_alias_whose_memory_is_free_serves() {
    let mut aliases = three();
    let start = |aliases: &Aliases, size, busy: u64| {
        let is_free = |home: Span| !home.touches(Span::new(busy, 1));
        aliases.oldest(need(size), u64::MAX, is_free).map(|alias| alias.start)
    };
    assert_eq!(start(&aliases, 100, 999), Some(3000), "the oldest, although it is larger");
    assert_eq!(start(&aliases, 100, 350), Some(1000));
    assert_eq!(start(&aliases, 97, 350), Some(1000));
    assert_eq!(start(&aliases, 101, 999), Some(3000));
    assert_eq!(start(&aliases, 90, 999), None, "none is near enough in size");
    assert_eq!(start(&aliases, 98, 350), Some(1000), "104 is the largest that may serve it");
    aliases.take(3000);
    assert_eq!(start(&aliases, 100, 90), Some(2000), "1000 shows what is busy, 3000 is used");
    aliases.take(2000);
    assert_eq!(start(&aliases, 100, 90), None);
}

#[test]
fn aliases_are_found_by_use() {
    let mut aliases = three();
    aliases.take(2000);
    assert_eq!(aliases.longest_unused(), [1000, 3000]);
    aliases.put(2000);
    assert_eq!(aliases.longest_unused(), [1000, 3000, 2000]);
    aliases.remove(2000);
    assert_eq!((aliases.bytes, aliases.at(2000)), (204, None));
}

#[test]
fn only_the_aliases_that_show_memory_are_hidden_with_it() {
    let starts =
        |hidden: &[Alias]| -> Vec<u64> { hidden.iter().map(|alias| alias.span.start).collect() };
    let mut aliases = Aliases::new(256 << 10);
    let grains = |from: u64, upto: u64| Span::between(from << 8, upto << 8);
    let mut space = Space::new(Fit::Best);
    space.add_segment(grains(1000, 4000), RangeState::Dormant(CLEAN));
    aliases.add(grains(3000, 3104), 3000 << 8, vec![grains(300, 404)]);
    aliases.add(grains(1000, 1100), 1000 << 8, vec![grains(0, 60), grains(80, 120)]);
    aliases.add(grains(2000, 2100), 2000 << 8, vec![grains(200, 300)]);
    let mut memory = Memory { space: &mut space, aliases: &mut aliases };
    assert_eq!(starts(&memory.hide_showing(&[grains(60, 80)], None)), [0; 0]);
    let hidden = memory.hide_showing(&[grains(100, 250), grains(90, 110)], None);
    assert_eq!(starts(&hidden), [1000 << 8, 2000 << 8]);
    for alias in &hidden {
        memory.hidden(alias, Some(alias.span.size));
    }
    assert_eq!(aliases.bytes, 104 << 8);
    assert_eq!(space.unmapped_below(u64::MAX), 200 << 8);
}

#[test]
fn an_alias_that_the_driver_was_not_asked_to_unmap_serves_again() {
    let grains = |from: u64, upto: u64| Span::between(from << 8, upto << 8);
    let mut space = Space::new(Fit::Best);
    space.add_segment(grains(1000, 2000), RangeState::Dormant(CLEAN));
    let mut aliases = Aliases::new(1000 << 8);
    aliases.add(grains(1000, 1100), 1000 << 8, vec![grains(0, 100)]);
    aliases.put(1000 << 8);
    let mut memory = Memory { space: &mut space, aliases: &mut aliases };
    let hidden = memory.hide(1000 << 8, |_| true).unwrap();
    let oldest = memory.aliases.oldest(need(100 << 8), u64::MAX, |_| true);
    assert_eq!(oldest, None, "it is about to go");
    memory.hidden(&hidden, None);
    assert!(aliases.oldest(need(100 << 8), u64::MAX, |_| true).is_some());
    assert_eq!((aliases.bytes, space.unmapped_below(u64::MAX)), (100 << 8, 0));
    space.check();
}

#[test]
fn a_broken_alias_that_stays_serves_nobody() {
    let grains = |from: u64, upto: u64| Span::between(from << 8, upto << 8);
    let mut space = Space::new(Fit::Best);
    space.add_segment(grains(1000, 2000), RangeState::Dormant(CLEAN));
    let mut aliases = Aliases::new(1000 << 8);
    aliases.add_broken(1000 << 8, &[grains(0, 100)], grains(1000, 1100));
    let mut memory = Memory { space: &mut space, aliases: &mut aliases };
    let [hidden] = memory.hide_showing(&[grains(0, 100)], None).try_into().unwrap();
    // Another one could not be unmapped, so that this one was not tried.
    memory.hidden(&hidden, None);
    assert_eq!(aliases.oldest(need(100 << 8), u64::MAX, |_| true), None);
    assert_eq!(aliases.longest_unused(), [1000 << 8], "it goes with the next ones");
    space.check();
}

#[test]
fn what_is_left_of_an_alias_shows_what_it_showed_and_serves_nobody() {
    let mut aliases = Aliases::new(1000);
    let homes = [Span::between(0, 60), Span::between(80, 120)];
    aliases.add_broken(1000, &homes, Span::new(1020, 50));
    let left = aliases.at(1020).unwrap();
    let shown = [Span::between(20, 60), Span::between(80, 90)];
    assert_eq!((left.span.size, &*left.homes), (50, &shown[..]));
    assert_eq!(aliases.oldest(need(50), u64::MAX, |_| true), None);
    assert_eq!(aliases.longest_unused(), [1020]);
}
