//! References to clauses of the contract, each of which must resolve.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Where the contract stands, from the root.
const CONTRACT: &str = "crates/vmem-core/src/contract.md";

/// The sections of the contract and their clauses, as comments refer to them.
#[derive(Debug)]
pub(super) struct Clauses {
    /// `freeing`.
    sections: BTreeSet<String>,
    /// `freeing/completion-order`.
    clauses: BTreeSet<String>,
}

impl Clauses {
    /// Reads the contract under `root`.
    ///
    /// # Errors
    /// It cannot be read, or has no clause.
    pub(super) fn read(root: &Path) -> Result<Self, String> {
        let text =
            fs::read_to_string(root.join(CONTRACT)).map_err(|e| format!("{CONTRACT}: {e}"))?;
        let clauses = Self::of(&text);
        if clauses.clauses.is_empty() {
            return Err(format!("{CONTRACT}: no clause found"));
        }
        Ok(clauses)
    }

    /// The headings of `text`, and under each the emphasised first words of its items.
    fn of(text: &str) -> Self {
        let mut found = Self { sections: BTreeSet::new(), clauses: BTreeSet::new() };
        let mut section = None;
        for line in text.lines() {
            if let Some(heading) = line.strip_prefix("# ") {
                section = Some(slug(heading));
                found.sections.extend(section.clone());
            } else if let (Some(section), Some((name, _))) =
                (&section, line.strip_prefix("- *").and_then(|item| item.split_once(".*")))
            {
                found.clauses.insert(format!("{section}/{}", slug(name)));
            }
        }
        found
    }

    /// What in a comment refers to a clause or section that the contract does not have.
    pub(super) fn unresolved(&self, comment: &str) -> Vec<String> {
        let mut found = Vec::new();
        let reference = |c: char| c.is_ascii_lowercase() || c == '-' || c == '/';
        // Names of files have a dot, an underscore or a capital in them.
        let words = comment.split(|c: char| !(c.is_alphanumeric() || "-/_.".contains(c)));
        for word in words.map(|word| word.trim_end_matches('.')) {
            let section = word.split_once('/').map(|(section, _)| section);
            if word.chars().all(reference)
                && section.is_some_and(|section| self.sections.contains(section))
                && !self.clauses.contains(word)
            {
                found.push(format!("the contract has no clause {word}"));
            }
        }
        // The same by number, or a section that does not exist.
        let mut rest = comment;
        while let Some((_, after)) = rest.split_once("contract, ") {
            rest = after;
            let section: String = after.chars().take_while(|&c| reference(c)).collect();
            let numbered = after[section.len()..]
                .strip_prefix(' ')
                .is_some_and(|next| next.starts_with(|c: char| c.is_ascii_digit()));
            if self.sections.contains(&section) && numbered {
                found.push(format!("clauses of `{section}` have names, not numbers"));
            } else if comment.contains("SAFETY: contract, ")
                && !self.sections.contains(&section)
                && !self.clauses.contains(&section)
            {
                found.push(format!("the contract has no section `{section}`"));
            }
        }
        found.dedup();
        found
    }
}

/// `Leaking, not dangling` as `leaking-not-dangling`.
fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clauses() -> Clauses {
        Clauses::of(
            "Words.\n\n# Freeing\n\n- *Completion order.* Every\n- *No later use.* No\n\n\
             # Typed memory\n\n- *The host.* A method\n",
        )
    }

    #[test]
    fn a_reference_is_the_heading_and_the_first_words() {
        let clauses = clauses();
        for good in [
            "// SAFETY: contract, freeing: all of it.",
            "// SAFETY: contract, freeing/completion-order and freeing/no-later-use: so.",
            "//! as typed-memory/the-host says. See `freeing/mod.rs`, freeing three blocks.",
            "// By contract, what is freed is free.",
        ] {
            assert_eq!(clauses.unresolved(good), [""; 0], "{good}");
        }
    }

    #[test]
    fn a_reference_that_does_not_resolve_is_found() {
        let clauses = clauses();
        assert_eq!(
            clauses.unresolved("// (freeing/no-use). freeing/completion-order"),
            ["the contract has no clause freeing/no-use"]
        );
        assert_eq!(
            clauses.unresolved("// SAFETY: contract, freeing 1 and 2: so"),
            ["clauses of `freeing` have names, not numbers"]
        );
        assert_eq!(
            clauses.unresolved("// SAFETY: contract, using: so"),
            ["the contract has no section `using`"]
        );
    }

    #[test]
    fn the_contract_that_the_sources_refer_to_has_clauses() {
        let clauses = Clauses::read(&crate::cargo::root()).unwrap();
        assert!(clauses.clauses.contains("devices/pending-work"));
        assert!(clauses.clauses.contains("implementing/leaking-not-dangling"));
    }
}
