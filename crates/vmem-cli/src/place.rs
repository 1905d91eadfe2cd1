//! The device that the arguments ask for, checked before anything runs.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use vmem_core::{BoxedError, DeviceFacts, chain};
use vmem_sim::MeasuredCosts;
use vmem_trace::LoggedFailures;

use crate::args::{Common, PlaceArgs};
use crate::measure::{Place, Question};
use crate::target::{DeviceRequest, Opened, Target};
use crate::{Backend, Error, OpenError, bytes};

/// What came of looking for the device.
#[derive(Debug)]
pub(crate) enum Found {
    Place {
        place: Place,
        facts: DeviceFacts,
        /// The device and what bounds a run on it, for people.
        header: String,
    },
    /// There is none, for this reason.
    Absent(String),
}

/// The target that was asked for.
///
/// # Errors
/// Usage: an unknown device, or a file of costs that cannot be read as such.
pub fn target(args: &PlaceArgs, backend: &Arc<dyn Backend>) -> Result<Target, Error> {
    let costs = args.costs.as_deref().map(read_costs).transpose()?;
    Target::parse(args.device.as_deref(), costs, backend)
}

/// Where the rows of `bench` and `replay` are to be measured.
///
/// # Errors
/// Usage: an unknown device, a capacity that no device has; a device that fails.
pub(crate) fn find(common: &Common, backend: &Arc<dyn Backend>) -> Result<Found, Error> {
    let target = target(&common.place, backend)?;
    let opened = match target.open(&DeviceRequest::measuring(common.capacity, common.seed)) {
        Ok(opened) => opened,
        Err(OpenError::Absent(reason)) => return Ok(Found::Absent(reason)),
        Err(error) if target.is_simulated() => return Err(Error::usage(chain(&error).to_string())),
        Err(error) => return Err(Error::failed(chain(&error).to_string())),
    };
    check_capacity(common.capacity, &opened)?;
    let facts = opened.device.facts().clone();
    let (capacity, seed) = (opened.capacity(), common.seed);
    let room = bytes::show(capacity);
    let header = if target.is_simulated() {
        format!("{target}, {room}, seed {seed}")
    } else {
        format!("{}, stacks hold at most {room}, seed {seed}", describe(&target, &facts))
    };
    let simulated = facts.simulated;
    let failures = match common.with_failures {
        true => LoggedFailures::AskedAgain,
        false => LoggedFailures::Skipped,
    };
    let place = Place { target, capacity, seed, simulated, question: Question::Cost, failures };
    let place = if common.min_device { place.with_min_device()? } else { place };
    Ok(Found::Place { place, facts, header })
}

/// The simulated device, opened as `report` and `convert` do.
///
/// # Errors
/// Usage: a capacity that no device has.
pub(crate) fn open_simulated(target: &Target, request: &DeviceRequest) -> Result<Opened, Error> {
    let opened = target.open(request).map_err(|error| Error::usage(chain(&error).to_string()))?;
    check_capacity(request.capacity, &opened)?;
    Ok(opened)
}

fn check_capacity(given: Option<u64>, opened: &Opened) -> Result<(), Error> {
    let granule = opened.device.virtual_memory().map_or(1, |memory| memory.granularity());
    match given.filter(|&given| given < granule) {
        Some(given) => Err(Error::usage(format!(
            "--capacity {given} B is less than the device hands out; accepted: {} or more",
            bytes::show(granule)
        ))),
        None => Ok(()),
    }
}

/// The device in words.
pub fn describe(target: &Target, facts: &DeviceFacts) -> String {
    if target.is_simulated() {
        return target.to_string();
    }
    format!("{target}: {}, {}", facts.name, facts.driver)
}

/// A table that `vmem-lab micro` wrote.
fn read_costs(path: &Path) -> Result<MeasuredCosts, Error> {
    let read =
        || -> Result<MeasuredCosts, BoxedError> { Ok(serde_json::from_slice(&fs::read(path)?)?) };
    read().map_err(|error| {
        let shown = path.display();
        Error::usage(format!(
            "`{shown}` is no table of costs: {error}; accepted: what `vmem-lab micro --table` writes"
        ))
    })
}
