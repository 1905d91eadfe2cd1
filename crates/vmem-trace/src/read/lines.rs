//! Lines of comma-separated fields that know where they are.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};

use super::ReadError;

/// The most columns that a table may have.
pub(super) const MOST_COLUMNS: usize = 32;

/// The longest line that is looked at, in bytes; what is longer is no row.
const LONGEST_LINE: usize = 64 << 10;

/// Non-blank lines of a text, one at a time.
pub(super) struct Lines<'a, R> {
    file: &'a str,
    from: R,
    number: usize,
    buffer: Vec<u8>,
}

/// One line.
pub(super) struct Line<'a> {
    file: &'a str,
    pub(super) number: usize,
    pub(super) text: Cow<'a, str>,
    /// Whether a line feed ends it, rather than the end of the file.
    pub(super) ended: bool,
    /// Why it cannot be a row, whatever is in it.
    pub(super) odd: Option<&'static str>,
}

/// The fields of a line, without the blanks around them.
pub(super) struct Fields<'a> {
    fields: [&'a str; MOST_COLUMNS],
    /// How many there are, those included that have no room here.
    pub(super) count: usize,
}

impl<'a, R: BufRead> Lines<'a, R> {
    pub(super) fn new(file: &'a str, from: R) -> Self {
        Self { file, from, number: 0, buffer: Vec::new() }
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn next(&mut self) -> Result<Option<Line<'_>>, ReadError> {
        loop {
            self.buffer.clear();
            let read = self.take().map_err(|error| ReadError::from_io(self.file, error))?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if !self.buffer.trim_ascii().is_empty() {
                break;
            }
        }
        let ended = self.buffer.ends_with(b"\n");
        let line = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let start = if self.number == 1 { "\u{feff}".as_bytes() } else { b"" };
        let line = line.strip_prefix(start).unwrap_or(line);
        let text = String::from_utf8_lossy(line);
        let odd = if line.len() > LONGEST_LINE {
            Some("the line is too long")
        } else if matches!(text, Cow::Owned(_)) {
            Some("it is not text in UTF-8")
        } else {
            None
        };
        Ok(Some(Line { file: self.file, number: self.number, text, ended, odd }))
    }

    /// Reads up to a line feed, and keeps no more than is looked at.
    fn take(&mut self) -> io::Result<usize> {
        let most = LONGEST_LINE as u64 + 2;
        let mut read = (&mut self.from).take(most).read_until(b'\n', &mut self.buffer)?;
        while read > 0 && !self.buffer.ends_with(b"\n") {
            let more = self.from.fill_buf()?;
            if more.is_empty() {
                break;
            }
            let end = more.iter().position(|&byte| byte == b'\n');
            let count = end.map_or(more.len(), |end| end + 1);
            self.from.consume(count);
            read += count;
            if end.is_some() {
                self.buffer.push(b'\n');
            }
        }
        Ok(read)
    }
}

impl Line<'_> {
    /// An error about this line.
    pub(super) fn error(&self, reason: impl Into<String>) -> ReadError {
        ReadError::new(self.file, reason).at(self.number, &self.text)
    }

    pub(super) fn fields(&self) -> Fields<'_> {
        let mut fields = [""; MOST_COLUMNS];
        let mut count = 0;
        for field in self.text.split(',') {
            if let Some(place) = fields.get_mut(count) {
                *place = field.trim();
            }
            count += 1;
        }
        Fields { fields, count }
    }
}

impl<'a> Fields<'a> {
    /// The field of that column; empty if there is none.
    pub(super) fn get(&self, column: usize) -> &'a str {
        self.fields.get(column).copied().unwrap_or_default()
    }

    /// The column of that name, or of the next, whatever the case.
    pub(super) fn column(&self, names: &[&str]) -> Option<usize> {
        let fields = self.fields.get(..self.count)?;
        names.iter().find_map(|name| fields.iter().position(|f| f.eq_ignore_ascii_case(name)))
    }
}

/// A size in bytes.
///
/// # Errors
/// What is accepted.
pub(super) fn size(field: &str) -> Result<u64, String> {
    field.parse().map_err(|error| {
        format!("the size {field:?} is not a whole number of bytes from 1 to 2^63 ({error})")
    })
}
