//! Elements and bytes.

use std::ops::{Bound, Range, RangeBounds};

use crate::{BlockLayout, DriverCode, DriverError};

/// The elements that a range names.
pub(super) fn elements(
    call: &'static str,
    range: impl RangeBounds<usize>,
    len: usize,
) -> Result<Range<usize>, DriverError> {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => len,
    };
    if start <= end && end <= len {
        return Ok(start..end);
    }
    Err(invalid(call, format!("elements {start}..{end} of {len}")))
}

/// The sizes of two ends of a copy, in elements, are the same.
pub(super) fn same_len(call: &'static str, from: usize, to: usize) -> Result<(), DriverError> {
    if from == to {
        return Ok(());
    }
    Err(invalid(call, format!("{from} elements are copied to {to}")))
}

pub(super) fn invalid(call: &'static str, detail: String) -> DriverError {
    DriverError::new(call, DriverCode::INVALID_VALUE).with_detail(detail)
}

/// The size of `len` elements in bytes. More than there can be if that does not fit 64 bits.
pub(super) const fn bytes_of<T>(len: usize) -> u64 {
    (len as u64).saturating_mul(size_of::<T>() as u64)
}

/// The bytes of a range of elements that exist.
pub(super) const fn bytes_range<T>(range: &Range<usize>) -> Range<u64> {
    bytes_of::<T>(range.start)..bytes_of::<T>(range.end)
}

/// The alignment of a block of elements, in bytes.
pub(super) const fn alignment_of<T>() -> u64 {
    let alignment = align_of::<T>() as u64;
    if alignment > BlockLayout::DEFAULT_ALIGNMENT {
        alignment
    } else {
        BlockLayout::DEFAULT_ALIGNMENT
    }
}
