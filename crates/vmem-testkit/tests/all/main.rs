//! The kit, held to what it holds others to.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod block;
mod broken;
mod checks_can_fail;
mod control;
mod countdown;
mod leaves;
mod probes;
mod programs;
