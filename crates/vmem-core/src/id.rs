//! Identities that are never reused within a process.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! process_unique {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        pub struct $name(u64);

        impl $name {
            /// The next identity; no two calls in one process return the same.
            #[expect(clippy::new_without_default, reason = "a default identity would be a trap")]
            pub fn new() -> Self {
                static NEXT: AtomicU64 = AtomicU64::new(1);
                Self(NEXT.fetch_add(1, Ordering::Relaxed))
            }

            /// The identity as a number, for logs and records.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self, f)
            }
        }
    };
}

process_unique! {
    /// Which resource issued a block. Process-unique, never reused.
    ResourceId, "resource#"
}
process_unique! {
    /// Which device, as opened by this process. Not an ordinal: the same card opened twice through
    /// two backends has two identities.
    DeviceId, "device#"
}
process_unique! {
    /// Which stream. Unlike the driver's handle it is never reused, so state kept under it can
    /// never be mistaken for a later stream's.
    StreamId, "stream#"
}
process_unique! {
    /// Which reservation a request draws from.
    ReservationId, "reservation#"
}
