//! What a program did that the rules forbid.

use std::borrow::Cow;
use std::fmt;

use vmem_core::DriverCode;

/// Which rule was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ViolationKind {
    /// Two accesses to the same physical bytes, at least one of them a write, with nothing that
    /// orders one before the other.
    Race,
    /// Bytes that a kernel expected elsewhere or otherwise.
    WrongBytes,
    /// Memory freed, unmapped or given access while work on it was not known complete.
    PendingWork,
    /// An address in no live allocation or mapping, or one without access rights.
    BadAddress,
    /// Memory, a range or a mapping given back that is not live as named: freed twice, in part,
    /// under a wrong size, or still in use.
    BadFree,
    /// A handle that was destroyed, or never was one.
    BadHandle,
    /// A handle of another device.
    WrongContext,
    /// A size or address that the call does not accept.
    BadArgument,
    /// A call or access that a running capture forbids.
    Capture,
    /// The host touching memory while work on it was not known complete.
    HostAccess,
}

/// One broken rule: which, by what call, and the particulars.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The rule.
    pub kind: ViolationKind,
    /// The call, or the queued work, in which it showed.
    pub call: Cow<'static, str>,
    /// A description with addresses, streams and history.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {}: {}", self.kind, self.call, self.detail)
    }
}

/// Why a call does not do what it was asked: a driver's code, and the rule if one was broken.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: DriverCode,
    pub(crate) detail: String,
    pub(crate) broken: Option<ViolationKind>,
}

impl Refusal {
    /// The device cannot; nobody did wrong.
    pub(crate) fn cannot(code: DriverCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), broken: None }
    }

    /// The caller did wrong.
    pub(crate) fn misuse(kind: ViolationKind, code: DriverCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), broken: Some(kind) }
    }
}
