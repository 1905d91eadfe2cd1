//! The pool over the simulated device.

mod smoke;
