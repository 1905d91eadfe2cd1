//! What crosses the C boundary: pointers to write answers to, and the structures of `cuda.h`.

use std::ffi::{c_char, c_int, c_uchar, c_uint, c_ushort, c_void};

use crate::refusal::{Answer, Refusal};

/// Where an answer goes. Only C callers make these.
#[repr(transparent)]
pub(crate) struct Out<T>(*mut T);

/// Where an argument is read from. Only C callers make these.
#[repr(transparent)]
pub(crate) struct In<T>(*const T);

/// An [`Out`] that is not null. Asked for before anything is done, so that a call whose answer has
/// nowhere to go does nothing.
pub(crate) struct Slot<T>(*mut T);

impl<T> Out<T> {
    /// A place for the answer.
    pub(crate) fn slot(&self) -> Answer<Slot<T>> {
        if self.0.is_null() {
            return Err(Refusal::value("null where the answer was to go"));
        }
        Ok(Slot(self.0))
    }

    /// A place for the answer, if the caller wants one.
    pub(crate) fn optional(&self) -> Option<Slot<T>> {
        self.slot().ok()
    }
}

impl<T> Slot<T> {
    /// Writes the answer.
    pub(crate) fn put(self, value: T) {
        // SAFETY: the C caller passed a place for one value of this type, as its function's
        // documentation asks; it was checked not to be null.
        unsafe { self.0.write_unaligned(value) }
    }
}

impl<T: Copy> Slot<T> {
    /// What is there before the answer, for places that are arguments too.
    pub(crate) fn get(&self) -> T {
        // SAFETY: as for `put`; the C caller set it, as its function's documentation asks.
        unsafe { self.0.read_unaligned() }
    }
}

impl Slot<c_char> {
    /// Writes a text and a zero, cut to `room` bytes in all, of which there is at least one.
    pub(crate) fn put_text(self, text: &str, room: usize) {
        let len = text.len().min(room - 1);
        // SAFETY: the C caller passed a place with so much room.
        unsafe { self.0.copy_from_nonoverlapping(text.as_ptr().cast(), len) }
        let end = self.0.wrapping_add(len);
        // SAFETY: as above; `len` is below `room`.
        unsafe { end.write(0) }
    }
}

impl<T: Copy> In<T> {
    /// The argument.
    pub(crate) fn get(&self) -> Answer<T> {
        let at = self.address()?;
        // SAFETY: the C caller passed a place with such a value, as its function's documentation
        // asks; it was checked not to be null. All types read so are plain numbers and pointers.
        Ok(unsafe { at.read_unaligned() })
    }

    /// Its address, which is not null.
    pub(crate) fn address(&self) -> Answer<*const T> {
        if self.0.is_null() {
            return Err(Refusal::value("null where an argument was to be"));
        }
        Ok(self.0)
    }
}

/// `CUmemLocation`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) kind: c_int,
    pub(crate) id: c_int,
}

impl Location {
    /// `CU_MEM_LOCATION_TYPE_DEVICE`.
    pub(crate) const DEVICE: c_int = 1;

    /// `CU_MEM_LOCATION_TYPE_HOST`.
    pub(crate) const HOST: c_int = 2;
    /// `CU_MEM_LOCATION_TYPE_HOST_NUMA`.
    pub(crate) const HOST_NUMA: c_int = 3;

    /// Whether it names the host, which has one node.
    pub(crate) fn is_host(self) -> Answer<bool> {
        match (self.kind, self.id) {
            (Self::HOST, _) | (Self::HOST_NUMA, 0) => Ok(true),
            (Self::HOST_NUMA, id) => Err(Refusal::value(format!("the host has no node {id}"))),
            _ => Ok(false),
        }
    }

    /// The device it names.
    pub(crate) fn device(self) -> Answer<c_int> {
        match self.kind {
            Self::DEVICE => Ok(self.id),
            kind => Err(Refusal::value(format!("location type {kind} is not the device's, 1"))),
        }
    }
}

/// `CUmemAllocationProp`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct AllocationProperties {
    pub(crate) kind: c_int,
    pub(crate) handle_types: c_int,
    pub(crate) location: Location,
    pub(crate) win32: *const c_void,
    pub(crate) compression: c_uchar,
    pub(crate) rdma: c_uchar,
    pub(crate) usage: c_ushort,
    pub(crate) reserved: [c_uchar; 4],
}

/// `CUmemAccessDesc`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccessDescription {
    pub(crate) location: Location,
    pub(crate) flags: c_uint,
}

/// `CUmemPoolProps`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolProperties {
    pub(crate) kind: c_int,
    pub(crate) handle_types: c_int,
    pub(crate) location: Location,
    pub(crate) win32: *const c_void,
    pub(crate) reserved: [c_uchar; 64],
}

/// `CU_MEM_ALLOCATION_TYPE_PINNED`.
pub(crate) const ALLOCATION_PINNED: c_int = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_size_that_the_header_gives_them() {
        assert_eq!(size_of::<Location>(), 8);
        assert_eq!(size_of::<AllocationProperties>(), 32);
        assert_eq!(size_of::<AccessDescription>(), 12);
        assert_eq!(size_of::<PoolProperties>(), 88);
    }
}
