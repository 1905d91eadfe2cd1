//! Numbers in sentences.

#![forbid(unsafe_code)]

/// "1 block", "2 blocks".
pub(crate) fn blocks(count: impl Into<i128>) -> String {
    match count.into() {
        1 => "1 block".into(),
        count => format!("{count} blocks"),
    }
}
