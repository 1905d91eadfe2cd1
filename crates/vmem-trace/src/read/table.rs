//! Lines of comma-separated fields that know where they are.

use super::ReadError;

/// Non-blank lines of a text.
pub(super) struct Table<'a> {
    file: &'a str,
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
}

/// One line.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    file: &'a str,
    pub(super) line: usize,
    pub(super) text: &'a str,
}

impl<'a> Table<'a> {
    /// The lines after the first, which is the header.
    pub(super) fn after_header(file: &'a str, text: &'a str) -> Self {
        let lines = text.lines().enumerate();
        let mut table = Self { file, lines };
        table.next();
        table
    }

    pub(super) fn file(&self) -> &'a str {
        self.file
    }
}

impl<'a> Iterator for Table<'a> {
    type Item = Row<'a>;

    fn next(&mut self) -> Option<Row<'a>> {
        let (before, text) = self.lines.find(|(_, text)| !text.trim().is_empty())?;
        Some(Row { file: self.file, line: before + 1, text })
    }
}

impl<'a> Row<'a> {
    /// An error about this line.
    pub(super) fn error(&self, reason: impl Into<String>) -> ReadError {
        ReadError::new(self.file, reason).at(self.line, self.text)
    }

    /// Exactly as many fields as the header has.
    pub(super) fn fields<const N: usize>(&self, header: &str) -> Result<[&'a str; N], ReadError> {
        let mut fields = [""; N];
        let mut given = 0;
        for field in self.text.split(',') {
            if let Some(place) = fields.get_mut(given) {
                *place = field.trim();
            }
            given += 1;
        }
        if given != N {
            let reason = format!("{given} fields; accepted are the {N} fields {header}");
            return Err(self.error(reason));
        }
        Ok(fields)
    }

    /// A size in bytes.
    pub(super) fn size(&self, field: &str) -> Result<u64, ReadError> {
        field.parse().map_err(|error| {
            self.error(format!(
                "the size {field:?} is not a whole number of bytes from 1 to 2^63 ({error})"
            ))
        })
    }
}
