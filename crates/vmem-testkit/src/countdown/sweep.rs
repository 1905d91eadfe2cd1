//! One scenario with every driver call failed in turn.

use std::sync::Arc;

use vmem_core::DriverCode;

use super::Countdown;

/// The codes worth sweeping over: exhaustion, a fault, and a number that no version of the driver's
/// headers has.
pub const FAULT_CODES: [DriverCode; 3] =
    [DriverCode::OUT_OF_MEMORY, DriverCode::UNKNOWN, DriverCode(12345)];

/// Which driver call fails in one run of a [`sweep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The how many-th call, from one.
    pub n: u64,
    /// What it answers.
    pub code: DriverCode,
}

impl Fault {
    /// Arms `countdown` with it.
    pub fn arm(self, countdown: &Countdown) {
        countdown.arm(self.n, self.code);
    }
}

/// Runs `scenario` with the first driver call failing, then with the second, and so on until it
/// completes without a fault, for each of `codes`. Returns the number of faults fired.
///
/// Each run builds its own device and [`Countdown`], arms it where it wants the faults to begin,
/// disarms it where they shall end, and returns it, so that the sweep can see whether it fired.
///
/// # Panics
/// If the scenario does; if a fault still fires after `cap` runs with one code; and if none ever
/// fires, because then the sweep shows nothing.
///
/// ```
/// use vmem_core::{BlockLayout, DeviceMemory, ResourceExt, Stream};
/// use vmem_sim::SimDevice;
/// use vmem_testkit::{Countdown, FAULT_CODES, sweep};
///
/// let faults = sweep(&FAULT_CODES, 100, |fault| {
///     let countdown = Countdown::new(SimDevice::new(1 << 20));
///     let stream = Stream::new(countdown.clone()).unwrap();
///     let memory = DeviceMemory::new(countdown.clone());
///     fault.arm(&countdown);
///     if let Err(error) = memory.buffer(4096, &stream) {
///         assert_eq!(countdown.fired(), Some("Device::allocate"), "{error}");
///     }
///     countdown.disarm();
///     countdown
/// });
/// // Three calls (allocate; synchronise, free in the drop), each with three codes.
/// assert_eq!(faults, 9);
/// ```
pub fn sweep(
    codes: &[DriverCode],
    cap: u64,
    mut scenario: impl FnMut(Fault) -> Arc<Countdown>,
) -> u64 {
    let mut faults = 0;
    for &code in codes {
        let mut fired = 0;
        while scenario(Fault { n: fired + 1, code }).fired().is_some() {
            fired += 1;
            assert!(
                fired < cap,
                "a fault still fires in run {cap}: the scenario does not end, or the cap is low"
            );
        }
        faults += fired;
    }
    assert_ne!(faults, 0, "no driver call was ever reached while armed");
    faults
}
