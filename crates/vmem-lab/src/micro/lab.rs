//! Measuring a call several times.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vmem_cli::parts::{KEPT_FREE, Opened, bytes};
use vmem_core::{Device, DriverError};

use super::report::{Beside, MicroNote, MicroRow};

/// How long one operation is measured, unless that comes to too few times.
const LONGEST: Duration = Duration::from_millis(400);

/// The fewest times that are measured.
const FEWEST: usize = 5;

/// A device to measure on, and what was measured.
#[derive(Debug)]
pub(super) struct Lab {
    pub(super) device: Arc<dyn Device>,
    pub(super) opened: Opened,
    start: Instant,
    samples: usize,
    pub(super) rows: Vec<MicroRow>,
    pub(super) left_out: Vec<MicroNote>,
    pub(super) failures: Vec<MicroNote>,
}

/// What is measured, on how many bytes, beside what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub(super) bytes: Option<u64>,
    pub(super) beside: Beside,
}

impl Setting {
    pub(super) const ALONE: Self = Self { bytes: None, beside: Beside::Nothing };

    pub(super) const fn of(bytes: u64) -> Self {
        Self { bytes: Some(bytes), beside: Beside::Nothing }
    }

    pub(super) const fn beside(self, beside: Beside) -> Self {
        Self { beside, ..self }
    }
}

impl Lab {
    pub(super) fn new(opened: Opened, samples: u32) -> Self {
        Self {
            device: opened.device.clone(),
            opened,
            start: Instant::now(),
            samples: usize::try_from(samples).unwrap_or(usize::MAX),
            rows: Vec::new(),
            left_out: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// The time, on the simulated device's clock where there is one.
    pub(super) fn now(&self) -> Duration {
        self.opened.gauge.virtual_time().unwrap_or_else(|| self.start.elapsed())
    }

    /// What a call returns, and how long it took in nanoseconds.
    pub(super) fn time<T>(
        &self,
        call: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<(T, u64), DriverError> {
        let before = self.now();
        let value = call()?;
        let taken = self.now().saturating_sub(before);
        Ok((value, u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Measures operations that `body` does in turn, returning the time of each. The first turn is
    /// not counted. What fails is noted.
    pub(super) fn measure<const N: usize>(
        &mut self,
        operations: [&'static str; N],
        setting: Setting,
        mut body: impl FnMut(&Self) -> Result<[u64; N], DriverError>,
    ) {
        let mut times: [Vec<u64>; N] = std::array::from_fn(|_| Vec::new());
        let begin = Instant::now();
        let mut turn = || -> Result<(), DriverError> {
            body(self)?;
            for count in 0..self.samples {
                if count >= FEWEST && begin.elapsed() > LONGEST {
                    break;
                }
                for (times, time) in times.iter_mut().zip(body(self)?) {
                    times.push(time);
                }
            }
            Ok(())
        };
        if let Err(error) = turn() {
            return self.fail(operations.join(", "), &error);
        }
        for (operation, times) in operations.into_iter().zip(times) {
            self.note(operation, setting, times);
        }
    }

    /// Adds the row of some times.
    pub(super) fn note(&mut self, operation: &'static str, setting: Setting, mut times: Vec<u64>) {
        times.sort_unstable();
        let Some(last) = times.len().checked_sub(1) else {
            return;
        };
        let at = |tenths: usize| times[last * tenths / 10];
        self.rows.push(MicroRow {
            operation,
            bytes: setting.bytes,
            beside: setting.beside,
            calls: times.len() as u64,
            median_ns: at(5),
            p10_ns: at(1),
            p90_ns: at(9),
            min_ns: at(0),
            max_ns: at(10),
        });
    }

    /// Notes what the device lacks.
    pub(super) fn leave_out(&mut self, what: &str, reason: impl Into<String>) {
        self.left_out.push(MicroNote { what: what.to_owned(), reason: reason.into() });
    }

    /// Notes what went wrong.
    pub(super) fn fail(&mut self, what: impl Into<String>, error: &dyn fmt::Display) {
        self.failures.push(MicroNote { what: what.into(), reason: error.to_string() });
    }

    /// Whether `bytes` more bytes of the device may be taken; notes it if not.
    pub(super) fn has_room(&mut self, what: &str, bytes: u64) -> bool {
        let room = match self.room() {
            Ok(room) => room,
            Err(error) => {
                self.fail(what, &error);
                return false;
            }
        };
        if bytes > room {
            let (wanted, room) = (bytes::show(bytes), bytes::show(room));
            self.leave_out(what, format!("it takes {wanted}, and there are {room} to use"));
        }
        bytes <= room
    }

    /// What may be taken of the device now.
    fn room(&self) -> Result<u64, DriverError> {
        Ok(self.opened.gauge.free()?.saturating_sub(KEPT_FREE).min(self.opened.capacity()))
    }
}
