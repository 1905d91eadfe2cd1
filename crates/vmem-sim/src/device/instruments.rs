//! What only a simulation can be asked and told.

use std::time::Duration;

use vmem_core::{DevicePtr, DriverCode, DriverError};

use super::SimDevice;
use crate::{CallCounts, CallKind, Leaks, Violation};

impl SimDevice {
    /// The number of driver calls made so far, by kind.
    pub fn calls(&self) -> CallCounts {
        self.core.lock().calls
    }

    /// Bytes of the device's memory in use: plain memory, physical handles that are held or mapped,
    /// what the stream-ordered pool holds, and managed pages on the device.
    pub fn used(&self) -> u64 {
        self.core.lock().memory.used
    }

    /// Bytes of the host's memory in handles that are held or mapped.
    pub fn host_used(&self) -> u64 {
        self.core.lock().memory.host_used
    }

    /// The most that was ever in [use](Self::used) since the last
    /// [`reset_peak`](Self::reset_peak).
    pub fn peak_used(&self) -> u64 {
        self.core.lock().memory.peak
    }

    /// The addresses that have device memory behind them, by address, as start and size in bytes: plain
    /// and stream-ordered allocations and mappings. Memory that is mapped twice is there twice. O(n).
    pub fn backed_addresses(&self) -> Vec<(DevicePtr, u64)> {
        let state = self.core.lock();
        let regions = state.memory.space.iter().filter(|(_, region)| !region.kind.is_host_memory());
        regions.filter_map(|(start, region)| Some((DevicePtr::new(start)?, region.size))).collect()
    }

    /// Starts the peak anew from what is in use now.
    pub fn reset_peak(&self) {
        let mut state = self.core.lock();
        state.memory.peak = state.memory.used;
    }

    /// Bytes of managed memory that were moved between host and device.
    pub fn migrated_bytes(&self) -> u64 {
        self.core.lock().memory.migrated
    }

    /// The host's virtual time. It does not include queued work that nothing waited for;
    /// synchronise the device first to include it.
    pub fn virtual_time(&self) -> Duration {
        Duration::from_nanos(self.core.lock().host_ns)
    }

    /// The rules that were broken so far, in order; the first 1,000.
    pub fn violations(&self) -> Vec<Violation> {
        self.core.lock().violations.clone()
    }

    /// Returns the rules broken so far and forgets them: for tests that break rules on purpose.
    pub fn take_violations(&self) -> Vec<Violation> {
        std::mem::take(&mut self.core.lock().violations)
    }

    /// Runs everything queued, then checks that no rule was broken.
    ///
    /// # Panics
    /// If one was, with a list of them.
    pub fn assert_clean(&self) {
        let violations = {
            let mut state = self.core.lock();
            state.drain();
            state.violations.clone()
        };
        let lines: Vec<String> = violations.iter().map(|v| format!("\n  {v}")).collect();
        assert!(lines.is_empty(), "broken rules:{}", lines.concat());
    }

    /// Runs everything queued, without the host having seen it. No driver call is counted.
    pub fn settle(&self) {
        self.core.lock().drain();
    }

    /// Everything that was taken from the device and not given back.
    pub fn leaks(&self) -> Leaks {
        self.core.lock().leaks()
    }

    /// Makes the `nth` call of `kind` from now on (of any kind for `None`), counting from 1, answer
    /// `code` and do nothing. Each such order strikes once.
    pub fn fail_call(&self, kind: Option<CallKind>, nth: u64, code: DriverCode) {
        self.core.lock().script.fail_call(kind, nth, code);
    }

    /// Makes a call fail as [`fail_call`](Self::fail_call) does, counted from when the next order
    /// given before has struck: what undoes a failure can be made to fail too.
    pub fn fail_call_next(&self, kind: Option<CallKind>, nth: u64, code: DriverCode) {
        self.core.lock().script.fail_call_next(kind, nth, code);
    }

    /// Makes every call that asks for more than `bytes` bytes of memory answer out of memory.
    /// Address ranges are not memory.
    pub fn fail_sizes_above(&self, bytes: u64) {
        self.core.lock().script.fail_sizes_above(bytes);
    }

    /// Loses the device: every call from now on answers
    /// [`LAUNCH_FAILED`](DriverCode::LAUNCH_FAILED), and queued work changes nothing any more.
    pub fn lose(&self) {
        self.core.lock().script.lose();
    }

    /// Forgets [`fail_call`](Self::fail_call), [`fail_call_next`](Self::fail_call_next) and
    /// [`fail_sizes_above`](Self::fail_sizes_above). A lost device stays lost.
    pub fn clear_failures(&self) {
        self.core.lock().script.clear();
    }

    /// Returns true if a handle of a stream, an event or physical memory was made by this device, be it
    /// live or destroyed.
    pub fn made_handle(&self, handle: u64) -> bool {
        !self.core.lock().events.is_foreign(handle)
    }

    /// Returns true if this device hands out the address for device memory, be it in use or not.
    pub fn has_address(&self, address: u64) -> bool {
        self.core.lock().memory.addresses.contains(&address)
    }

    /// Runs everything queued, without the host having seen it, and reads device memory at once.
    /// No driver call is counted, no access is checked.
    ///
    /// # Errors
    /// If the range lies in no live memory.
    pub fn read_now(&self, ptr: DevicePtr, bytes: &mut [u8]) -> Result<(), DriverError> {
        let mut state = self.core.lock();
        state.drain();
        let pieces = state.memory.resolve(ptr.get(), bytes.len() as u64).map_err(|refusal| {
            DriverError::new("SimDevice::read_now", refusal.code).with_detail(refusal.detail)
        })?;
        let mut rest = bytes;
        for piece in pieces {
            let len = usize::try_from(piece.len).expect("the slice holds it");
            let (part, others) = rest.split_at_mut(len);
            let physical = state.memory.physicals.get(piece.physical);
            physical.store.read(piece.offset, part);
            rest = others;
        }
        Ok(())
    }
}
