//! One scenario with every driver call failed in turn.

use vmem_core::DriverCode;

use super::{Fault, Fired};

/// Runs `scenario` with the first driver call failing, then with the second, and so on until it
/// completes without a fault, for each of `codes`. Returns the number of faults fired.
///
/// Each run builds its own device and [`Countdown`](super::Countdown), arms it where it wants the
/// faults to begin, disarms it where they shall end, and returns it, so that the sweep can see
/// whether it fired. [`Pairs`](super::Pairs) sweeps over two failing calls.
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
/// // The allocation and, in the drop, a question, a wait and the free, each with three codes.
/// assert_eq!(faults, 12);
/// ```
pub fn sweep<F: Into<Fired>>(
    codes: &[DriverCode],
    cap: u64,
    mut scenario: impl FnMut(Fault) -> F,
) -> u64 {
    let mut faults = 0;
    for &code in codes {
        let mut fired = 0;
        while !scenario(Fault::new(fired + 1, code)).into().failed.is_empty() {
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
