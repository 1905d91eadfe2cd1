//! A device that fails one chosen driver call.

mod forward;
mod sweep;

pub use sweep::{FAULT_CODES, Fault, sweep};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmem_core::{Device, DriverCode, DriverError};

/// A device in front of another that answers one driver call, counted from when it was armed, with
/// an error, without passing it on.
///
/// Every method of [`Device`] and its parts that can return an error counts as one driver call and
/// can be the one that fails: destroying, freeing, unmapping and releasing too, because a driver
/// that has lost its context fails those first, and cleaning up must survive it. What such a call
/// should have given up stays allocated in the inner device. The rest ([`base`](Device::base),
/// [`facts`](Device::facts), [`id`](Device::id), the granularity, whether managed access is
/// concurrent, which parts exist) makes no driver call, cannot fail and is not counted.
///
/// It has the parts that the inner device has, and the same [`id`](Device::id): streams of the inner
/// device are accepted, and their own calls bypass the countdown. Create streams over the countdown
/// to make their calls count. Mind that [`Stream::legacy_default`](vmem_core::Stream::legacy_default)
/// and [`Stream::per_thread_default`](vmem_core::Stream::per_thread_default) share one live stream
/// per device id, over whichever of the two was named first.
///
/// ```
/// use vmem_core::{Device, DriverCode};
/// use vmem_sim::SimDevice;
/// use vmem_testkit::Countdown;
///
/// let countdown = Countdown::new(SimDevice::new(1 << 30));
/// countdown.arm(2, DriverCode::UNKNOWN);
/// assert!(countdown.memory_info().is_ok());
/// assert_eq!(countdown.memory_info().unwrap_err().code(), DriverCode::UNKNOWN);
/// assert!(countdown.memory_info().is_ok());
/// assert_eq!(countdown.fired(), Some("Device::memory_info"));
/// ```
#[derive(Debug)]
pub struct Countdown(Gate);

/// What every call passes. The parts are implemented on it, so that a [`Countdown`] shows only
/// those that its inner device has.
#[derive(Debug)]
struct Gate {
    inner: Arc<dyn Device>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: u64,
    /// How many calls from now fails, and with what.
    armed: Option<(u64, DriverCode)>,
    fired: Option<&'static str>,
}

impl Countdown {
    /// A countdown in front of `device`, not armed.
    pub fn new(device: Arc<dyn Device>) -> Arc<Self> {
        Arc::new(Self(Gate { inner: device, state: Mutex::default() }))
    }

    /// The device behind it.
    pub fn inner(&self) -> &Arc<dyn Device> {
        &self.0.inner
    }

    /// Makes the `n`-th driver call from now (the next one is the first) answer `code`, once. It
    /// replaces an earlier arming and forgets what [`fired`](Self::fired).
    ///
    /// # Panics
    /// If `n` is zero, or `code` is 0 or [`NOT_READY`](DriverCode::NOT_READY), which are no
    /// failures.
    pub fn arm(&self, n: u64, code: DriverCode) {
        assert_ne!(n, 0, "calls are counted from one");
        assert!(code != DriverCode(0) && code != DriverCode::NOT_READY, "{code} is no failure");
        let mut state = self.0.lock();
        state.armed = Some((n, code));
        state.fired = None;
    }

    /// Lets every call pass. What [`fired`](Self::fired) stays known.
    pub fn disarm(&self) {
        self.0.lock().armed = None;
    }

    /// The call that was failed since the last arming, as in `"VirtualMemory::map"`.
    pub fn fired(&self) -> Option<&'static str> {
        self.0.lock().fired
    }

    /// How many driver calls were made, the failed ones included.
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }
}

impl Gate {
    /// Counts a call, and fails it if it is the chosen one.
    fn pass(&self, call: &'static str) -> Result<(), DriverError> {
        let mut state = self.lock();
        state.calls += 1;
        match &mut state.armed {
            Some((1, code)) => {
                let error = DriverError::new(call, *code);
                state.armed = None;
                state.fired = Some(call);
                Err(error.with_detail("failed by the countdown"))
            }
            Some((n, _)) => {
                *n -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
