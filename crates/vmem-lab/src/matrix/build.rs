//! Whether a stack is built, and is the one that was asked for.

use std::any::Any;
use std::sync::Arc;

use vmem_cli::parts;
use vmem_core::{BlockLayout, BoxedError, Device, DriverCode, MemoryResource, Request, Stream};
use vmem_runtime::{Runtime, Size, Status};
use vmem_testkit::{Countdown, TrackedBlock};

use super::cell::Outcome;
use super::context::{CheckContext, ROOM};

/// A runtime that is configured for a tier builds that tier, and its memory keeps its bytes.
pub(super) fn as_asked(context: &CheckContext) -> Result<Outcome, BoxedError> {
    use vmem_runtime::Tier;
    let asked = match context.tier.runtime() {
        Some(tier @ (Tier::A | Tier::B | Tier::C)) => tier,
        Some(_) => {
            let reason = "nobody asks for the fallback; tier/falls_back_on_a_failing_driver does";
            return Ok(Outcome::Skipped(reason.to_owned()));
        }
        None => {
            let built = context.build(ROOM)?;
            use_it(&built.resource, &context.opened.device)?;
            return Ok(Outcome::Passed(Some(built.description)));
        }
    };
    let runtime = runtime(context, asked);
    let resource = runtime.resource()?;
    match runtime.status() {
        Status::Ready { tier, description, .. } if tier == asked => {
            use_it(&resource, &context.opened.device)?;
            Ok(Outcome::Passed(Some(description)))
        }
        other => Ok(Outcome::Failed(format!("tier {asked} was asked for; {other}"))),
    }
}

/// A runtime on the context's device that is configured for a tier.
fn runtime(context: &CheckContext, tier: vmem_runtime::Tier) -> Runtime {
    use vmem_runtime::Tier;
    let config = parts::config(&context.opened)
        .with_oom_safety(tier == Tier::B)
        .with_managed_memory(tier == Tier::C);
    let device = context.opened.device.clone();
    Runtime::new(config, move || Ok(device.clone()))
}

/// A stack as a program has it.
#[derive(Debug)]
pub(super) struct ProgramStack {
    pub(super) resource: Arc<dyn MemoryResource>,
    /// Who keeps it.
    _owner: Box<dyn Any>,
}

/// The stack, of a runtime if one can be configured for it.
///
/// # Errors
/// What building it came to.
pub(super) fn as_a_program(context: &CheckContext) -> Result<ProgramStack, BoxedError> {
    use vmem_runtime::Tier;
    if let Some(tier @ (Tier::A | Tier::B | Tier::C)) = context.tier.runtime() {
        let runtime = runtime(context, tier);
        return Ok(ProgramStack { resource: runtime.resource()?, _owner: Box::new(runtime) });
    }
    let built = context.build(ROOM)?;
    let resource = built.resource.clone();
    Ok(ProgramStack { resource, _owner: Box::new(built) })
}

/// The driver calls of building a stack that are failed, one after the other.
const CALLS: u64 = 8;

/// A runtime falls back when a driver call fails while it builds its stack, and the fallback works.
/// A call that the pool can do without, such as the first of several attempts, may fail unnoticed;
/// that all of them do may not.
pub(super) fn falls_back(context: &CheckContext) -> Result<Outcome, BoxedError> {
    use vmem_runtime::Tier;
    let Some(asked) = context.tier.runtime() else {
        return Ok(Outcome::Skipped("only a runtime falls back".to_owned()));
    };
    if asked == Tier::C {
        return Ok(Outcome::Skipped("building tier C makes no driver call to fail".to_owned()));
    }
    let config = parts::config(&context.opened)
        .with_oom_safety(asked == Tier::B)
        // So that building it asks for memory.
        .with_initial_pool_size(Size::Bytes(8 << 20));
    let mut found = Vec::new();
    for nth in 1..=CALLS {
        let failing = Countdown::new(context.opened.device.clone());
        failing.arm(nth, DriverCode::UNKNOWN);
        let device = failing.clone();
        let runtime = Runtime::new(config.clone(), move || Ok(device.clone()));
        let resource = runtime.resource()?;
        let Some(call) = failing.fired() else {
            break;
        };
        let device: Arc<dyn Device> = failing;
        use_it(&resource, &device)?;
        if let Status::Ready { tier: Tier::Fallback, description, .. } = runtime.status() {
            found.push(format!("{call} failed: {description}"));
        }
    }
    match found.first() {
        Some(first) => Ok(Outcome::Passed(Some(first.clone()))),
        None => Ok(Outcome::Failed("no failing call led to the fallback".to_owned())),
    }
}

/// Writes a block, reads it back, frees it.
fn use_it(resource: &Arc<dyn MemoryResource>, device: &Arc<dyn Device>) -> Result<(), BoxedError> {
    let stream = Stream::new(device.clone())?;
    let request = Request::new(BlockLayout::new(3 << 20)?, &stream);
    let mut block = TrackedBlock::allocate(&**resource, &request)?;
    block.write(&stream)?;
    block.verify(&stream)?;
    block.free(&**resource, &stream)?;
    Ok(())
}
