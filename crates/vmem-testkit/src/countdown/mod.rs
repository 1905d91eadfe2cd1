//! A device that fails chosen driver calls, and lets things happen beside them.

mod careless;
mod fault;
mod forward;
mod hooks;
mod pairs;
mod sweep;

pub use careless::Carelessness;
pub use fault::{FAULT_CODES, Fault, Fired};
pub use pairs::Pairs;
pub use sweep::sweep;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use vmem_core::author::fork;
use vmem_core::{Device, DriverCode, DriverError};

use hooks::{Hooks, When};

/// A device in front of another that answers one driver call, counted from when it was armed, with
/// an error, without passing it on; and another one after it, if [told so](Self::arm_next).
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
    hooks: Hooks,
    careless: Mutex<Option<Carelessness>>,
}

#[derive(Debug, Default)]
struct State {
    calls: u64,
    /// How many calls from now fails, and with what; each further one counts from that before it.
    armed: VecDeque<(u64, DriverCode)>,
    /// Armed, and not disarmed since, whether or not anything is left to fail.
    watching: bool,
    failed: Vec<&'static str>,
    /// The calls after the first that failed, while watching.
    since: Vec<&'static str>,
}

impl Countdown {
    /// A countdown in front of `device`, not armed.
    pub fn new(device: Arc<dyn Device>) -> Arc<Self> {
        let (state, hooks, careless) = (Mutex::default(), Hooks::default(), Mutex::default());
        Arc::new(Self(Gate { inner: device, state, hooks, careless }))
    }

    /// The device behind it.
    pub fn inner(&self) -> &Arc<dyn Device> {
        &self.0.inner
    }

    /// Makes the `n`-th driver call from now (the next one is the first) answer `code`, once. It
    /// replaces an earlier arming and forgets what [`failed`](Self::failed).
    ///
    /// # Panics
    /// If `n` is zero, or `code` is 0 or [`NOT_READY`](DriverCode::NOT_READY), which are no
    /// failures.
    pub fn arm(&self, n: u64, code: DriverCode) {
        let mut state = self.0.lock();
        let calls = state.calls;
        *state = State { calls, watching: true, ..State::default() };
        state.add(n, code);
    }

    /// Makes another call fail: the `n`-th after the one armed last, 1 for the very next.
    ///
    /// # Panics
    /// Those of [`arm`](Self::arm).
    ///
    /// ```
    /// use vmem_core::{Device, DriverCode};
    /// use vmem_sim::SimDevice;
    /// use vmem_testkit::Countdown;
    ///
    /// let countdown = Countdown::new(SimDevice::new(1 << 30));
    /// countdown.arm(2, DriverCode::OUT_OF_MEMORY);
    /// countdown.arm_next(1, DriverCode::UNKNOWN);
    /// let answers: Vec<bool> = (0..4).map(|_| countdown.memory_info().is_ok()).collect();
    /// assert_eq!(answers, [true, false, false, true]);
    /// assert_eq!(countdown.failed().len(), 2);
    /// ```
    pub fn arm_next(&self, n: u64, code: DriverCode) {
        self.0.lock().add(n, code);
    }

    /// Lets every call pass. What [`failed`](Self::failed) stays known.
    pub fn disarm(&self) {
        let mut state = self.0.lock();
        state.armed.clear();
        state.watching = false;
    }

    /// The first call that was failed since the last arming, as in `"VirtualMemory::map"`.
    pub fn fired(&self) -> Option<&'static str> {
        self.0.lock().failed.first().copied()
    }

    /// All calls that were failed since the last arming, in order.
    pub fn failed(&self) -> Vec<&'static str> {
        self.0.lock().failed.clone()
    }

    /// The calls that came after the first failed one until the countdown was disarmed, those
    /// failed included: where a second failure could strike.
    pub fn calls_since(&self) -> Vec<&'static str> {
        self.0.lock().since.clone()
    }

    /// Calls `hook` once, just before the next driver call of this name is made or failed, as in
    /// `"Device::record_event"`. This does at the worst moment what another thread might do. It replaces
    /// an earlier hook before the same call. The hook may make calls itself.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use vmem_core::Device;
    /// use vmem_sim::SimDevice;
    /// use vmem_testkit::Countdown;
    ///
    /// let device = SimDevice::new(1 << 30);
    /// let countdown = Countdown::new(device.clone());
    /// let other = Arc::clone(&device);
    /// countdown.before("Device::memory_info", move || _ = other.allocate(1 << 20).unwrap());
    /// let free = [(); 2].map(|()| countdown.memory_info().unwrap().free);
    /// assert_eq!(free, [(1 << 30) - (1 << 20); 2]);
    /// ```
    pub fn before(&self, call: &'static str, hook: impl FnOnce() + Send + 'static) {
        self.0.hooks.set(When::Before, call, Box::new(hook));
    }

    /// Calls `hook` once, just after the next driver call of this name that succeeds. It replaces an
    /// earlier hook after the same call.
    pub fn after(&self, call: &'static str, hook: impl FnOnce() + Send + 'static) {
        self.0.hooks.set(When::After, call, Box::new(hook));
    }

    /// Does calls carelessly from now on, or as they are asked for: for tests that show that they
    /// would notice a resource which is careless.
    pub fn set_carelessness(&self, carelessness: Option<Carelessness>) {
        *fork::locked(|| self.0.careless.lock()) = carelessness;
    }

    /// The number of driver calls made, failed ones included.
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }
}

impl State {
    fn add(&mut self, n: u64, code: DriverCode) {
        assert_ne!(n, 0, "calls are counted from one");
        assert!(code != DriverCode(0) && code != DriverCode::NOT_READY, "{code} is no failure");
        self.armed.push_back((n, code));
    }
}

impl Gate {
    /// Counts a call, and fails it if it is a chosen one.
    fn pass(&self, call: &'static str) -> Result<(), DriverError> {
        self.hooks.run(When::Before, call);
        let mut state = self.lock();
        state.calls += 1;
        if state.watching && !state.failed.is_empty() {
            state.since.push(call);
        }
        match state.armed.front_mut() {
            Some((1, code)) => {
                let error = DriverError::new(call, *code);
                state.armed.pop_front();
                state.failed.push(call);
                Err(error.with_detail("failed by the countdown"))
            }
            Some((n, _)) => {
                *n -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn is(&self, carelessness: Carelessness) -> bool {
        *fork::locked(|| self.careless.lock()) == Some(carelessness)
    }

    /// Runs what is to happen after a call that succeeded.
    fn passed(&self, call: &'static str) {
        self.hooks.run(When::After, call);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        fork::locked(|| self.state.lock())
    }
}
