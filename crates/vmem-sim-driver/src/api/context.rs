//! Contexts: primary ones, and which of them is current on a thread.

use std::ffi::c_int;

use vmem_core::Device;

use super::exports;
use crate::driver::with_contexts;
use crate::refusal::Refusal;
use crate::types::Out;

exports! {
    fn cuDevicePrimaryCtxRetain(driver, context: Out<u64>, device: c_int) {
        let slot = context.slot()?;
        slot.put(driver.session()?.retain(device)?);
        Ok(())
    }

    fn cuDevicePrimaryCtxRelease_v2(driver, device: c_int) {
        driver.session()?.release(device)
    }

    fn cuDevicePrimaryCtxGetState(
        driver,
        device: c_int,
        flags: Out<u32>,
        active: Out<c_int>,
    ) {
        let (flags, active) = (flags.slot()?, active.slot()?);
        let session = driver.session()?;
        let ordinal = session.ordinal(device)?;
        flags.put(0);
        active.put(c_int::from(session.retained(ordinal) > 0));
        Ok(())
    }

    fn cuCtxPushCurrent_v2(driver, context: u64) {
        driver.session()?.of_context(context)?;
        with_contexts(|contexts| contexts.push(context))
    }

    fn cuCtxPopCurrent_v2(driver, context: Out<u64>) {
        driver.session()?;
        let popped = with_contexts(Vec::pop)?;
        let popped = popped.ok_or_else(|| Refusal::context("the thread has no context to pop"))?;
        if let Some(slot) = context.optional() {
            slot.put(popped);
        }
        Ok(())
    }

    /// Replaces the current context; null takes it away.
    fn cuCtxSetCurrent(driver, context: u64) {
        let session = driver.session()?;
        if context != 0 {
            session.of_context(context)?;
        }
        with_contexts(|contexts| {
            contexts.pop();
            contexts.extend((context != 0).then_some(context));
        })
    }

    /// Null if there is none.
    fn cuCtxGetCurrent(driver, context: Out<u64>) {
        let slot = context.slot()?;
        driver.session()?;
        slot.put(with_contexts(|contexts| contexts.last().copied())?.unwrap_or(0));
        Ok(())
    }

    fn cuCtxGetDevice(driver, device: Out<c_int>) {
        let slot = device.slot()?;
        let ordinal = driver.session()?.here()?.ordinal;
        slot.put(c_int::try_from(ordinal).unwrap_or(c_int::MAX));
        Ok(())
    }

    /// One priority: the least and the greatest are 0.
    fn cuCtxGetStreamPriorityRange(driver, least: Out<c_int>, greatest: Out<c_int>) {
        driver.session()?.here()?;
        for place in [least, greatest] {
            if let Some(slot) = place.optional() {
                slot.put(0);
            }
        }
        Ok(())
    }

    fn cuCtxSynchronize(driver) {
        Ok(driver.session()?.here()?.sim.synchronize()?)
    }
}
