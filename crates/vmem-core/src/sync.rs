//! What threads meet at in this crate: the standard library's, or loom's in the models of whoever
//! stands on it.

#[cfg(loom)]
pub(crate) use loom::{
    sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, atomic},
    thread_local,
};
#[cfg(not(loom))]
pub(crate) use std::{
    sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, atomic},
    thread_local,
};
