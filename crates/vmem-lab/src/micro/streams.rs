//! Streams, events, and what queuing costs.

#![expect(unsafe_code, reason = "the driver's calls themselves are measured")]

use super::beside::{Company, Scratch};
use super::lab::{Lab, Setting};
use super::report::Beside;

/// Small pieces of work that are queued behind a large one.
pub(super) const PIECES: u64 = 100;

/// The size of a large piece of work, in bytes, and how many are queued before the small ones. They
/// outlast the queuing of those.
const LARGE: u64 = 64 << 20;
const FILLS: u32 = 16;

/// The size of a small piece of work, in bytes.
const SMALL: u64 = 4 << 10;

pub(super) fn measure(lab: &mut Lab) {
    lab.measure(["create stream", "destroy stream"], Setting::ALONE, |lab| {
        let (stream, create) = lab.time(|| lab.device.create_stream())?;
        // SAFETY: contract, devices/handles: a new stream, used no more.
        let ((), destroy) = lab.time(|| unsafe { lab.device.destroy_stream(stream) })?;
        Ok([create, destroy])
    });
    for beside in Beside::ALL {
        events(lab, beside);
    }
    if lab.has_room("queue work", LARGE) {
        work(lab);
    }
}

fn events(lab: &mut Lab, beside: Beside) {
    let what = "events";
    if !lab.has_room(what, Company::bytes(lab)) {
        return;
    }
    let company = Company::start(lab, beside);
    let streams = Scratch::new(lab.device.clone(), SMALL)
        .and_then(|first| Ok((first, Scratch::new(lab.device.clone(), SMALL)?)));
    let (company, (first, second)) = match (company, streams) {
        (Ok(company), Ok(streams)) => (company, streams),
        (Err(error), _) | (_, Err(error)) => return lab.fail(what, &error),
    };
    let operations = [
        "create event",
        "queue a fill",
        "record event",
        "query event",
        "wait for an event on the device",
        "wait for an event on the host",
        "wait for an idle stream",
        "query stream",
        "destroy event",
    ];
    let setting = Setting::ALONE.beside(beside);
    lab.measure(operations, setting, |lab| {
        let device = &lab.device;
        company.keep_on()?;
        let (event, create) = lab.time(|| device.create_event())?;
        let ((), fill) = lab.time(|| first.fill_part(SMALL))?;
        // SAFETY: contract, devices/handles: a live event and a live stream.
        let ((), record) = lab.time(|| unsafe { device.record_event(event, first.stream()) })?;
        // SAFETY: contract, devices/handles: a live event.
        let (_, query) = lab.time(|| unsafe { device.query_event(event) })?;
        company.keep_on()?;
        // SAFETY: contract, devices/handles: a live event and a live stream.
        let ((), wait) = lab.time(|| unsafe { device.wait_event(second.stream(), event) })?;
        first.wait()?;
        // SAFETY: contract, devices/handles: a live event.
        let ((), host) = lab.time(|| unsafe { device.synchronize_event(event) })?;
        let ((), idle) = lab.time(|| first.wait())?;
        // SAFETY: contract, devices/handles: a live stream.
        let (_, stream) = lab.time(|| unsafe { device.query_stream(first.stream()) })?;
        second.wait()?;
        // SAFETY: contract, devices/handles: a live event, used no more.
        let ((), destroy) = lab.time(|| unsafe { device.destroy_event(event) })?;
        Ok([create, fill, record, query, wait, host, idle, stream, destroy])
    });
    for ended in [company.end(), first.end(), second.end()] {
        if let Err(error) = ended {
            lab.fail(what, &error);
        }
    }
}

/// What a small piece of work costs the device: many of them behind a large one that hides what
/// queuing them costs the host, less that one alone.
fn work(lab: &mut Lab) {
    let what = "queue work";
    let scratch = match Scratch::new(lab.device.clone(), LARGE) {
        Ok(scratch) => scratch,
        Err(error) => return lab.fail(what, &error),
    };
    lab.measure(["run large work", "run small work behind it"], Setting::ALONE, |lab| {
        let run = |pieces: u64| {
            lab.time(|| {
                scratch.fill(FILLS)?;
                (0..pieces).try_for_each(|_| scratch.fill_part(SMALL))?;
                scratch.wait()
            })
        };
        let ((), alone) = run(0)?;
        let ((), followed) = run(PIECES)?;
        Ok([alone, followed])
    });
    if let Err(error) = scratch.end() {
        lab.fail(what, &error);
    }
}
