//! Building a runtime's stack, all of it or nothing.

use std::fmt;
use std::sync::Arc;

use vmem_core::{BoxedError, Device, chain};

use crate::{DeviceTraits, FailurePolicy, Limits, Recovery, RuntimeConfig, Stack, Tier, choose};

/// Gives the device.
pub(super) type Provider = Arc<dyn Fn() -> Result<Arc<dyn Device>, BoxedError> + Send + Sync>;

/// The states of a runtime's stack.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Nothing asked for the stack yet.
    NotBuilt,
    /// The last attempt to build failed. The next use tries again.
    Failed {
        /// Why.
        cause: String,
    },
    /// The stack is built.
    Ready {
        /// Which tier.
        tier: Tier,
        /// The stack in words, outermost first.
        description: String,
        /// What the configuration came to.
        limits: Limits,
        /// For the fallback, why the chosen stack could not be built.
        cause: Option<String>,
    },
}

impl fmt::Display for Status {
    /// A line, or a few once the stack is built.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBuilt => f.write_str("not built yet"),
            Self::Failed { cause } => write!(f, "set-up failed: {cause}"),
            Self::Ready { tier, description, limits, cause } => {
                write!(f, "tier {tier}: {description}\nlimits: {limits}")?;
                cause.as_ref().map_or(Ok(()), |cause| write!(f, "\nbecause {cause}"))
            }
        }
    }
}

/// A stack that could not be built.
#[derive(Debug)]
pub struct SetupError {
    kind: SetupErrorKind,
    source: BoxedError,
}

/// The kinds of [`SetupError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetupErrorKind {
    /// There is no device, or it answers nothing any more.
    Device,
    /// The device cannot satisfy the configuration; the source is a
    /// [`ConfigError`](crate::ConfigError).
    Configuration,
    /// The stack could not be built.
    Stack,
}

impl SetupError {
    pub(super) fn new(kind: SetupErrorKind, source: impl Into<BoxedError>) -> Self {
        Self { kind, source: source.into() }
    }

    /// The kind of failure.
    pub fn kind(&self) -> SetupErrorKind {
        self.kind
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            SetupErrorKind::Device => "the device cannot be used",
            SetupErrorKind::Configuration => "the device cannot satisfy the configuration",
            SetupErrorKind::Stack => "the stack could not be built",
        };
        write!(f, "{what}: {}", chain(&*self.source))
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}

/// What was built.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) stack: Stack,
    /// Why the chosen stack could not be built.
    cause: Option<String>,
}

impl Built {
    pub(super) fn status(&self) -> Status {
        let Stack { tier, limits, ref description, .. } = self.stack;
        Status::Ready { tier, description: description.clone(), limits, cause: self.cause.clone() }
    }

    /// Says what was built, as a warning if it is not what was asked for.
    pub(super) fn warn(&self) {
        match &self.cause {
            Some(cause) => tracing::warn!(%cause, "vmem fell back to {}", self.stack),
            None => tracing::debug!("vmem built {}", self.stack),
        }
    }
}

pub(super) fn build(
    config: &RuntimeConfig,
    provider: &Provider,
    recovery: &Recovery,
) -> Result<Built, SetupError> {
    let device = provider().map_err(|error| SetupError::new(SetupErrorKind::Device, error))?;
    config
        .limits(device.facts().total_memory)
        .map_err(|error| SetupError::new(SetupErrorKind::Configuration, error))?;
    let cause = match chosen(config, device.clone(), recovery) {
        Ok(stack) => return Ok(Built { stack, cause: None }),
        Err(cause) => cause,
    };
    if config.on_failed_setup == FailurePolicy::Closed {
        return Err(SetupError::new(SetupErrorKind::Stack, cause));
    }
    // The fallback takes nothing until it is used; a device that answers nothing shows here.
    device.memory_info().map_err(|error| SetupError::new(SetupErrorKind::Device, error))?;
    let stack = Stack::build(Tier::Fallback, device, config, recovery)
        .map_err(|error| SetupError::new(SetupErrorKind::Stack, error))?;
    Ok(Built { stack, cause: Some(chain(&*cause).to_string()) })
}

/// The stack that the configuration asks for.
fn chosen(
    config: &RuntimeConfig,
    device: Arc<dyn Device>,
    recovery: &Recovery,
) -> Result<Stack, BoxedError> {
    let tier = match choose(config, DeviceTraits::of(&*device)) {
        // The device cannot have tier C, which was asked for: the attempt to build it says why.
        Tier::Fallback => Tier::C,
        tier => tier,
    };
    Stack::build(tier, device, config, recovery)
}
