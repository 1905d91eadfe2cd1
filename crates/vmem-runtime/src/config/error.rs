//! What is wrong with a configuration.

use std::fmt;

/// A setting that cannot be: which, what it was, and what is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub(super) kind: ConfigErrorKind,
    pub(super) variable: String,
    pub(super) value: String,
    pub(super) accepted: String,
}

/// The kinds of [`ConfigError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigErrorKind {
    /// No setting has this name.
    UnknownVariable,
    /// The setting does not have such a value.
    InvalidValue,
    /// The initial size is above the limit.
    InitialAboveLimit,
    /// What may spill, or the host's reserve, is above the limit of the host's memory.
    AboveHostLimit,
    /// The reserve leaves nothing of the device.
    NothingLeft,
}

impl ConfigError {
    /// The kind of mistake.
    pub fn kind(&self) -> ConfigErrorKind {
        self.kind
    }

    /// The variable that is wrong, prefix included.
    pub fn variable(&self) -> &str {
        &self.variable
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, variable, value, accepted } = self;
        match kind {
            ConfigErrorKind::UnknownVariable => write!(f, "{variable} is not a setting")?,
            ConfigErrorKind::InvalidValue => write!(f, "{variable} cannot be {value:?}")?,
            ConfigErrorKind::InitialAboveLimit => {
                write!(f, "{variable} of {value} is above the pool's limit")?;
            }
            ConfigErrorKind::AboveHostLimit => {
                write!(f, "{variable} of {value} is above the limit of the host's memory")?;
            }
            ConfigErrorKind::NothingLeft => {
                write!(f, "{variable} of {value} leaves nothing of the device")?;
            }
        }
        write!(f, "; accepted: {accepted}")
    }
}

impl std::error::Error for ConfigError {}
