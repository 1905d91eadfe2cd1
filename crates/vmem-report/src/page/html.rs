//! Texts in HTML.

use std::borrow::Cow;

/// Text that can stand between tags and in quoted attributes.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['<', '>', '&', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// An amount of memory, with the exact one for those who point at it and for scripts.
pub(crate) fn bytes(amount: u64) -> String {
    format!("<data value=\"{amount}\" title=\"{amount} B\">{}</data>", crate::bytes::show(amount))
}
