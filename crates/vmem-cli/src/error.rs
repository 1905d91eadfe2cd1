//! Why a command stopped.

use std::{fmt, io};

/// Why a command stopped, in one line.
#[derive(Debug)]
pub(crate) struct Error {
    code: u8,
    message: String,
}

impl Error {
    /// What was asked for cannot be done; the message says what can.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    /// What was asked for did not succeed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// The program's exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::failed(format!("the output cannot be written: {error}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
