//! Entering a context, and leaving the thread as it was.

use std::ffi::c_int;
use std::marker::PhantomData;

use vmem_core::DriverError;
use vmem_core::author::DeviceBase;

use super::Context;
use crate::result;
use crate::result::stream::RELAXED;

/// A device's primary context is current to this thread while this lives.
///
/// Made by [`CudaDevice::enter`](crate::CudaDevice::enter). Guards nest; each must be dropped before
/// those that were made earlier, which scopes do by themselves.
#[derive(Debug)]
#[must_use = "the context is current while this lives"]
pub struct Current<'a> {
    context: &'a Context,
    pushed: bool,
    /// The context is current to this thread, so the guard stays on it.
    thread: PhantomData<*const ()>,
}

impl<'a> Current<'a> {
    /// Pushes the context, unless it is current already.
    pub(super) fn new(context: &'a Context) -> Result<Self, DriverError> {
        let pushed = result::context::current()? != context.raw();
        if pushed {
            // SAFETY: contract, devices/handles: the context is retained while `context` lives.
            unsafe { result::context::push(context.raw()) }?;
        }
        Ok(Self { context, pushed, thread: PhantomData })
    }
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        if self.pushed
            && let Err(error) = result::context::pop()
        {
            self.context.base.drop_failures().record("an entry into the context", &error);
        }
    }
}

/// This thread's calls break no capture while this lives.
#[must_use = "the mode is relaxed while this lives"]
pub(super) struct Relaxed<'a> {
    base: &'a DeviceBase,
    before: c_int,
}

impl<'a> Relaxed<'a> {
    pub(super) fn new(base: &'a DeviceBase) -> Result<Self, DriverError> {
        Ok(Self { base, before: result::stream::exchange_capture_mode(RELAXED)? })
    }
}

impl Drop for Relaxed<'_> {
    fn drop(&mut self) {
        if let Err(error) = result::stream::exchange_capture_mode(self.before) {
            self.base.drop_failures().record("the thread's capture mode", &error);
        }
    }
}
