//! Failures on command, by C function.

use std::collections::{BTreeMap, VecDeque};

use vmem_core::DriverCode;

/// How often each function was called, and which calls are to fail.
#[derive(Debug, Default)]
pub(crate) struct Script {
    calls: BTreeMap<&'static str, u64>,
    rules: Vec<Rule>,
    /// Each is taken up when a rule strikes.
    later: VecDeque<Rule>,
    fired: Vec<&'static str>,
    /// Rules were added, and not cleared since, whether or not any is left.
    watching: bool,
    /// The functions called since the first that a rule failed, while watching.
    since: Vec<&'static str>,
}

/// One call that is to fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Matching calls still to come, the failing one included.
    pub(crate) nth: u64,
    pub(crate) code: DriverCode,
    /// Every function, for none.
    pub(crate) function: Option<&'static str>,
}

impl Rule {
    /// Reads `NTH CODE [FUNCTION]`.
    ///
    /// # Errors
    /// What is accepted.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let accepted = || format!("`{text}` is not `NTH CODE [FUNCTION]`, both numbers positive");
        let words: Vec<&str> = text.split_whitespace().collect();
        let (nth, code, function) = match words[..] {
            [nth, code] => (nth, code, None),
            [nth, code, function] => (nth, code, Some(function)),
            _ => return Err(accepted()),
        };
        let nth = nth.parse().ok().filter(|&nth| nth > 0).ok_or_else(accepted)?;
        let code = code.parse().ok().filter(|&code| code > 0).ok_or_else(accepted)?;
        let function = function
            .map(|name| {
                crate::api::find(name)
                    .map(|export| export.name)
                    .ok_or_else(|| format!("this driver has no function `{name}`"))
            })
            .transpose()?;
        Ok(Self { nth, code: DriverCode(code), function })
    }
}

impl Script {
    /// Counts a call, and says with what it is to fail.
    pub(crate) fn strikes(&mut self, function: &'static str) -> Option<DriverCode> {
        *self.calls.entry(function).or_default() += 1;
        if self.watching && !self.fired.is_empty() {
            self.since.push(function);
        }
        let mut struck = None;
        self.rules.retain_mut(|rule| {
            if rule.function.is_none_or(|name| name == function) {
                rule.nth -= 1;
                if rule.nth == 0 {
                    struck = struck.or(Some(rule.code));
                    return false;
                }
            }
            true
        });
        if struck.is_some() {
            self.fired.push(function);
            self.rules.extend(self.later.pop_front());
        }
        struck
    }

    /// Adds a rule and forgets what fired.
    pub(crate) fn add(&mut self, rule: Rule) {
        self.fired.clear();
        self.since.clear();
        self.watching = true;
        self.rules.push(rule);
    }

    /// Adds a rule that counts from when the next one given before has struck.
    pub(crate) fn add_next(&mut self, rule: Rule) {
        self.later.push_back(rule);
    }

    /// Forgets all rules. What fired, and what was called since, stays known.
    pub(crate) fn clear(&mut self) {
        self.rules.clear();
        self.later.clear();
        self.watching = false;
    }

    /// The functions that rules failed, since the last rule was [added](Self::add).
    pub(crate) fn fired(&self) -> &[&'static str] {
        &self.fired
    }

    /// The functions called after the first of these, until the rules were cleared.
    pub(crate) fn since(&self) -> &[&'static str] {
        &self.since
    }

    /// How often each function was called.
    pub(crate) const fn calls(&self) -> &BTreeMap<&'static str, u64> {
        &self.calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_call_of_a_function_or_of_any_fails_once() {
        let mut script = Script::default();
        script.add(Rule::parse("2 9999 cuMemMap").unwrap());
        script.add(Rule::parse("4 2").unwrap());
        let calls = ["cuMemMap", "cuMemUnmap", "cuMemMap", "cuMemUnmap", "cuMemUnmap"];
        let struck = calls.map(|name| script.strikes(name).map(|code| code.0));
        assert_eq!(struck, [None, None, Some(9999), Some(2), None]);
        assert_eq!(script.fired(), ["cuMemMap", "cuMemUnmap"]);
        assert_eq!(script.calls()["cuMemUnmap"], 3);
    }

    #[test]
    fn a_later_rule_counts_from_when_the_one_before_it_struck() {
        let mut script = Script::default();
        script.add(Rule::parse("2 2 cuMemMap").unwrap());
        script.add_next(Rule::parse("1 999 cuMemUnmap").unwrap());
        let calls = ["cuMemUnmap", "cuMemMap", "cuMemMap", "cuMemMap", "cuMemUnmap", "cuMemUnmap"];
        let struck = calls.map(|name| script.strikes(name).map(|code| code.0));
        assert_eq!(struck, [None, None, Some(2), None, Some(999), None]);
        assert_eq!(script.fired(), ["cuMemMap", "cuMemUnmap"]);
        script.clear();
        script.strikes("cuMemMap");
        assert_eq!(script.since(), ["cuMemMap", "cuMemUnmap", "cuMemUnmap"]);
    }

    #[test]
    fn rules_that_say_nothing_are_refused_with_what_is_accepted() {
        for text in ["", "1", "0 2", "1 0", "x 2", "1 2 cuMemMap more"] {
            assert!(Rule::parse(text).unwrap_err().contains("NTH CODE [FUNCTION]"), "{text}");
        }
        let unknown = Rule::parse("1 2 cuNoSuch").unwrap_err();
        assert_eq!(unknown, "this driver has no function `cuNoSuch`");
    }
}
