//! Why a command stopped.

use std::{fmt, io};

/// Why a command stopped, in one line.
#[derive(Debug)]
pub struct Error {
    code: u8,
    message: String,
    /// Nobody reads the output any more.
    closed_pipe: bool,
}

impl Error {
    /// What was asked for cannot be done; the message says what can.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into(), closed_pipe: false }
    }

    /// What was asked for did not succeed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into(), closed_pipe: false }
    }

    /// The program's exit code.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// Whether it is only that nobody reads the output any more.
    pub fn is_closed_pipe(&self) -> bool {
        self.closed_pipe
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        let closed_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        Self { closed_pipe, ..Self::failed(format!("the output cannot be written: {error}")) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
