//! Writers: traces as files that other tools read.

mod chrome;
mod tables;

pub use chrome::write_chrome_trace;
pub use tables::{write_lifetimes, write_rmm_log};
