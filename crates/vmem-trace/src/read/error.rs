//! Why a file is not a trace.

use std::{fmt, io};

/// A file that could not be read as a trace: where, the text there, and what is wrong with it.
#[derive(Debug)]
pub struct ReadError {
    file: String,
    line: Option<usize>,
    text: String,
    reason: String,
    source: Option<io::Error>,
}

impl ReadError {
    /// The longest piece of a line that an error repeats, in characters.
    const LONGEST_TEXT: usize = 120;

    pub(super) fn new(file: &str, reason: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            text: String::new(),
            reason: reason.into(),
            source: None,
        }
    }

    pub(super) fn from_io(file: &str, error: io::Error) -> Self {
        Self { source: Some(error), ..Self::new(file, "it cannot be read") }
    }

    /// Where it is and what is wrong, without the file's name.
    pub(super) fn without_file(&self) -> String {
        let text = self.to_string();
        let rest = &text[self.file.len()..];
        rest.trim_start_matches([',', ':', ' ']).to_owned()
    }

    pub(super) fn at(self, line: usize, text: &str) -> Self {
        let mut shown: String = text.chars().take(Self::LONGEST_TEXT).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Self { line: Some(line), text: shown, ..self }
    }

    /// The file, as it was named.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line that is wrong, counted from 1; `None` if the whole file is.
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// That line's text, shortened if it is long.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The fault, and what is accepted instead, in words.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}", self.reason)?;
        if !self.text.is_empty() {
            write!(f, " (the line is {:?})", self.text)?;
        }
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
