//! More than a ceiling holds, on a GPU: an overlay whose arrays spill, beside the same with room and on
//! memory of the host; tens of GiB that sleep and wake; two models that take turns; a cache that spills.
//! Prints a line of JSON for each figure, in bytes and seconds, as it goes.
//!
//! `cargo run --release -p vmem-cudarc --example residency [overlay|sleep|turns|cache]… [--scale N]
//! [--mib N]`
//!
//! `--scale` is that of the overlay (600k: 7 GiB live), `--mib` what sleeps (20480); each model has half of
//! that and the cache two fifths. The host needs as much as sleeps. Over the software driver, which runs
//! no kernels, arrays are filled, and their ends are looked at.

#![expect(clippy::print_stdout, reason = "its answer")]
#![expect(clippy::cast_precision_loss, reason = "figures to be read")]

mod cache;
mod card;
mod naps;
mod overlay;

use std::time::Instant;

use card::{Answer, Card};
use vmem_core::Device;
use vmem_trace::Scale;

const PARTS: [&str; 4] = ["overlay", "sleep", "turns", "cache"];

fn main() -> Answer<()> {
    let (mut scale, mut bytes): (Scale, u64) = ("600k".parse()?, 20 << 30);
    let mut parts = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--scale" => scale = words.next().ok_or("--scale takes a number")?.parse()?,
            "--mib" => {
                let mib: u64 = words.next().ok_or("--mib takes a number")?.parse()?;
                bytes = mib << 20;
            }
            part if PARTS.contains(&part) => parts.push(part.to_owned()),
            other => return Err(format!("{other:?}; accepted: {}", PARTS.join(", ")).into()),
        }
    }
    if parts.is_empty() {
        parts = PARTS.map(str::to_owned).to_vec();
    }
    let mut card = Card::open()?;
    let (facts, free) = (card.device.facts().clone(), card.free()?);
    println!(r#"{{"device":"{}","driver":"{}","free":{free}}}"#, facts.name, facts.driver);
    for part in parts {
        let started = Instant::now();
        let ran = match part.as_str() {
            "overlay" => overlay::run(&mut card, scale),
            "sleep" => naps::sleep(&mut card, bytes),
            "turns" => naps::turns(&mut card, bytes / 2),
            _ => cache::run(&mut card, bytes / 5 * 2),
        };
        let seconds = started.elapsed().as_secs_f64();
        match ran {
            Ok(()) => println!(r#"{{"part":"{part}","done_after_seconds":{seconds:.2}}}"#),
            Err(error) => {
                let chain = vmem_core::chain(&*error).to_string();
                println!(r#"{{"part":"{part}","failed":{chain:?}}}"#);
            }
        }
        println!(r#"{{"part":"{part}","free_at_end":{}}}"#, card.free()?);
    }
    Ok(())
}
