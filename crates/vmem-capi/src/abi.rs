//! How arguments cross: pointers, texts, and structs that begin with their size.

use std::ffi::{CStr, c_char, c_void};

use crate::status::Failure;

/// A struct of C that begins with its size, so that programs and libraries of different ages agree on
/// what both know.
///
/// # Safety
/// It is `repr(C)`, of integers and pointers alone, and its first field is a `usize`.
pub(crate) unsafe trait Prefixed: Copy {
    /// All zeros, which mean that nothing was said.
    const ZERO: Self;
    /// The least size that the first version had.
    const LEAST: usize;
}

/// What the caller's struct says, with zeros for what it does not have. Refused if it says something that
/// is not known here.
///
/// # Safety
/// `from` is null or points to a struct of the size that it begins with.
pub(crate) unsafe fn read<T: Prefixed>(from: *const T, what: &str) -> Result<T, Failure> {
    let mut known = T::ZERO;
    if from.is_null() {
        return Ok(known);
    }
    // SAFETY: the caller's promise; it is not null.
    let size = unsafe { size_of_callers(from, what) }?;
    let size_known = size.min(size_of::<T>());
    let to = (&raw mut known).cast::<u8>();
    // SAFETY: both have so many bytes, and any bytes are integers and pointers.
    unsafe { to.copy_from_nonoverlapping(from.cast::<u8>(), size_known) };
    for offset in size_known..size {
        let byte = from.cast::<u8>().wrapping_add(offset);
        // SAFETY: it has so many bytes, by the caller's promise.
        if unsafe { byte.read() } != 0 {
            return Err(Failure::argument(format!(
                "{what} sets a field at byte {offset}, which this version of the library does not know"
            )));
        }
    }
    Ok(known)
}

/// Writes what the caller's struct has room for, and leaves its size.
///
/// # Safety
/// `to` is null or points to a struct of the size that it begins with.
pub(crate) unsafe fn write<T: Prefixed>(to: *mut T, value: &T, what: &str) -> Result<(), Failure> {
    place(to, what)?;
    // SAFETY: the caller's promise; it is not null.
    let size = unsafe { size_of_callers(to, what) }?;
    let from = (&raw const *value).cast::<u8>();
    let (skip, end) = (size_of::<usize>(), size.min(size_of::<T>()));
    let (to, from) = (to.cast::<u8>().wrapping_add(skip), from.wrapping_add(skip));
    // SAFETY: both have so many bytes behind their sizes.
    unsafe { to.copy_from_nonoverlapping(from, end - skip) };
    Ok(())
}

/// Refuses a struct that [`write`] would refuse; not null, which says that no answer is wanted. For calls
/// that do something before they answer.
///
/// # Safety
/// `to` is null or points to a struct of the size that it begins with.
pub(crate) unsafe fn check_optional<T: Prefixed>(to: *const T, what: &str) -> Result<(), Failure> {
    if to.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's promise; it is not null.
    unsafe { size_of_callers(to, what) }.map(drop)
}

/// The size that a struct says it has.
///
/// # Safety
/// `of` points to a struct of the size that it begins with.
unsafe fn size_of_callers<T: Prefixed>(of: *const T, what: &str) -> Result<usize, Failure> {
    // SAFETY: it begins with its size, by the caller's promise.
    let size = unsafe { of.cast::<usize>().read_unaligned() };
    if size >= T::LEAST {
        return Ok(size);
    }
    let least = T::LEAST;
    Err(Failure::argument(format!(
        "{what} says that it has {size} bytes; set struct_size to its sizeof, at least {least}"
    )))
}

/// Where an answer goes.
pub(crate) fn place<T>(to: *mut T, what: &str) -> Result<Place<T>, Failure> {
    if to.is_null() { Err(Failure::argument(format!("{what} is null"))) } else { Ok(Place(to)) }
}

/// A pointer that is not null.
pub(crate) struct Place<T>(*mut T);

impl<T> Place<T> {
    /// Writes an answer.
    ///
    /// # Safety
    /// The pointer is one that the caller may write to.
    pub(crate) unsafe fn put(&self, value: T) {
        // SAFETY: the caller's promise; it was checked not to be null.
        unsafe { self.0.write_unaligned(value) };
    }
}

/// An address, or a handle, as C has it.
pub(crate) fn pointer(address: u64) -> *mut c_void {
    std::ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap_or(0))
}

/// A text; `None` for null.
///
/// # Safety
/// `text` is null or ends with a zero, and stays as it is while the answer is used.
pub(crate) unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<Option<&'a str>, Failure> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(Some).map_err(|_| Failure::argument(format!("{what} is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Plain {
        struct_size: usize,
        first: u64,
        second: u64,
    }

    // SAFETY: integers, the first of them the size.
    unsafe impl Prefixed for Plain {
        const ZERO: Self = Self { struct_size: 0, first: 0, second: 0 };
        const LEAST: usize = 16;
    }

    #[test]
    fn an_older_struct_is_read_and_written_as_far_as_it_goes() {
        let mut old = Plain { struct_size: 16, first: 1, second: 2 };
        // SAFETY: it has the bytes that it says.
        let read = unsafe { read(&raw const old, "it") }.unwrap();
        assert_eq!((read.first, read.second), (1, 0));
        let new = Plain { struct_size: 0, first: 8, second: 9 };
        // SAFETY: as above.
        unsafe { write(&raw mut old, &new, "it") }.unwrap();
        assert_eq!(old, Plain { struct_size: 16, first: 8, second: 2 });
    }

    #[test]
    fn a_newer_struct_is_written_as_far_as_it_is_known_and_one_without_a_size_is_refused() {
        let mut newer = [32_usize, 1, 2, 3];
        let value = Plain { struct_size: 0, first: 8, second: 9 };
        // SAFETY: it has the bytes that it says.
        unsafe { write(newer.as_mut_ptr().cast(), &value, "it") }.unwrap();
        assert_eq!(newer, [32, 8, 9, 3]);
        let mut newer = [32_usize, 1, 2, 0];
        // SAFETY: it has the bytes that it says.
        let known = unsafe { read::<Plain>(newer.as_ptr().cast(), "it") }.unwrap();
        assert_eq!((known.first, known.second), (1, 2));
        newer[3] = 1 << 8;
        // SAFETY: as above.
        let refused = unsafe { read::<Plain>(newer.as_ptr().cast(), "it") }.unwrap_err();
        assert!(refused.text.contains("at byte 25"), "{}", refused.text);
        let none = Plain { struct_size: 0, first: 0, second: 0 };
        // SAFETY: it is larger than it says.
        let refused = unsafe { read(&raw const none, "it") }.unwrap_err();
        assert!(refused.text.contains("struct_size"), "{}", refused.text);
    }
}
