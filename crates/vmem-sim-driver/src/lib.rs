//! NVIDIA's driver interface over vmem's simulated device.
#![doc = include_str!("model.md")]

mod api;
mod config;
mod control;
mod driver;
mod refusal;
mod script;
mod session;
mod types;

#[cfg(test)]
mod tests;
