//! What is lent to blocks, and how it comes to be at home where they use it.

use super::{Alias, Aliases};
use crate::space::{RangeState, Space, Span};

impl Aliases {
    /// The aliases in a span, as far as they are for use, lowest first.
    pub(in crate::supply) fn lent_in(&self, span: Span) -> impl Iterator<Item = Span> {
        let aliases = self.by_start.range(span.start..span.end());
        let aliases = aliases.filter_map(|(_, age)| self.by_age.get(age));
        aliases.map(|alias| Span::new(alias.start, alias.size))
    }

    /// The whole handles that the alias at `start` shows, beside each other: where each is at home, and
    /// where it is shown.
    pub(in crate::supply) fn whole_handles(&self, start: u64) -> Vec<(Span, u64)> {
        let mut handles = Vec::new();
        let mut at = start;
        for home in self.at(start).map_or(&[][..], |alias| &alias.homes) {
            let mut upto = home.start;
            for handle in self.cuts.whole(*home) {
                handles.push((handle, at + (handle.start - home.start)));
                upto = handle.end();
            }
            if upto < home.end() && at > start {
                // Of the last handle the lower end only; of the first it may be the upper.
                break;
            }
            at += home.size;
        }
        handles
    }

    /// The first whole handles that the alias at `start` shows are at home there from now on. The rest of it
    /// goes on.
    pub(crate) fn settle_in(&mut self, space: &mut Space, start: u64, moved: &[(Span, u64)]) {
        let Some(&(_, first)) = moved.first() else { return };
        let bytes = moved.iter().map(|(home, _)| home.size).sum::<u64>();
        let Some(Alias { span, homes, .. }) = self.at(start).cloned() else { return };
        for &(home, at) in moved {
            self.cuts.remove(home);
            self.cuts.add(&[Span::new(at, home.size)]);
            space.change(home, RangeState::Unmapped);
        }
        self.remove(start);
        if first > start {
            self.add(Span::between(span.start, first), start, homes[..1].to_vec());
        }
        let rest = Span::between(first + bytes, span.end());
        let mut before = rest.start - start;
        let mut left = Vec::new();
        for home in homes.iter() {
            let gone = before.min(home.size);
            before -= gone;
            if gone < home.size {
                left.push(Span::between(home.start + gone, home.end()));
            }
        }
        if !left.is_empty() {
            self.add(rest, rest.start, left);
        }
    }
}
