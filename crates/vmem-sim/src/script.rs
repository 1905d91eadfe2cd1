//! Failures on command.

use std::collections::VecDeque;

use vmem_core::DriverCode;

use crate::CallKind;

/// What the device was told to fail.
#[derive(Debug, Default)]
pub(crate) struct Script {
    rules: Vec<Rule>,
    /// Each is taken up when a rule strikes.
    later: VecDeque<Rule>,
    largest: Option<u64>,
    lost: bool,
}

#[derive(Debug)]
struct Rule {
    kind: Option<CallKind>,
    /// Matching calls still to come, the failing one included.
    remaining: u64,
    code: DriverCode,
}

impl Rule {
    fn new(kind: Option<CallKind>, nth: u64, code: DriverCode) -> Self {
        Self { kind, remaining: nth.max(1), code }
    }
}

impl Script {
    pub(crate) fn fail_call(&mut self, kind: Option<CallKind>, nth: u64, code: DriverCode) {
        self.rules.push(Rule::new(kind, nth, code));
    }

    pub(crate) fn fail_call_next(&mut self, kind: Option<CallKind>, nth: u64, code: DriverCode) {
        self.later.push_back(Rule::new(kind, nth, code));
    }

    pub(crate) fn fail_sizes_above(&mut self, bytes: u64) {
        self.largest = Some(bytes);
    }

    pub(crate) fn lose(&mut self) {
        self.lost = true;
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Forgets everything but a loss, which is for ever.
    pub(crate) fn clear(&mut self) {
        self.rules.clear();
        self.later.clear();
        self.largest = None;
    }

    /// The code that a call of `kind` is to answer, if it is to fail. Counts the call.
    pub(crate) fn strikes(&mut self, kind: CallKind) -> Option<DriverCode> {
        if self.rules.is_empty() {
            return None;
        }
        let mut struck = None;
        self.rules.retain_mut(|rule| {
            if rule.kind.is_none_or(|k| k == kind) {
                rule.remaining -= 1;
                if rule.remaining == 0 {
                    struck = struck.or(Some(rule.code));
                    return false;
                }
            }
            true
        });
        if struck.is_some() {
            self.rules.extend(self.later.pop_front());
        }
        struck
    }

    pub(crate) fn refuses_size(&self, bytes: u64) -> bool {
        self.largest.is_some_and(|largest| bytes > largest)
    }
}
