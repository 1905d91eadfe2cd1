//! What it costs to hold little more than what is live: for each workload, under ceilings from just
//! above what is live to none, how often and how much memory moves, and when that ends.
//!
//! ```sh
//! cargo run --release -p vmem-benches --example footprint [FOLDER OF TRACES]
//! ```

#![allow(clippy::print_stdout, reason = "a table for people at a terminal")]
#![allow(clippy::cast_precision_loss, reason = "ratios")]

use std::error::Error;
use std::path::{Path, PathBuf};

use vmem_benches::{Program, device};
use vmem_pool::{Counters, Footprint, Pool, PoolConfig, VirtualArena};
use vmem_trace::{Log, Mark, ReadError, Trace, Workload, WorkloadOptions, read_path};

/// How often each pattern is repeated.
const PASSES: u32 = 8;

/// Workloads and scales.
const WORKLOADS: [(Workload, &str); 8] = [
    (Workload::Overlay, "100k"),
    (Workload::OverlayCore, "100k"),
    (Workload::OverlayCore, "1m"),
    (Workload::OverlayPaged, "100k"),
    (Workload::OverlayTwoStreams, "100k"),
    (Workload::Dissolve, "1m"),
    (Workload::SpatialJoin, "1m"),
    (Workload::Random, "100k"),
];

/// What is less live than this is a matter of a few granules.
const LEAST: u64 = 256 << 20;

/// Ceilings over peak live, in percent.
const CEILINGS: [u64; 4] = [102, 105, 110, 120];

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    println!(
        "| trace | footprint | reserved | moves in pass 1 / 2 / last | moved in pass 1 / 2 / last, MiB | driver calls in pass 1 / 2 / 3 / last | addresses in windows |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (workload, scale) in WORKLOADS {
        let options =
            WorkloadOptions { scale: scale.parse()?, passes: PASSES, ..workload.defaults() };
        curve(&format!("{workload} {scale}"), &workload.generate(&options)?)?;
    }
    for log in Log::ALL {
        curve(log.name(), &log.trace().repeated(PASSES)?)?;
    }
    let recorded = folder.map_or(Ok(Vec::new()), |folder| recorded(&folder))?;
    for trace in recorded.into_iter().filter(|trace| trace.peak_live() >= LEAST) {
        curve(trace.name(), &trace.repeated(PASSES)?)?;
    }
    Ok(())
}

/// The recorded traces in a folder.
fn recorded(folder: &Path) -> Result<Vec<Trace>, Box<dyn Error>> {
    let mut paths =
        folder.read_dir()?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "csv"));
    paths.sort();
    Ok(paths
        .into_iter()
        .map(|path| Ok(read_path(path)?.trace))
        .collect::<Result<_, ReadError>>()?)
}

fn curve(name: &str, trace: &Trace) -> Result<(), Box<dyn Error>> {
    row(name, trace, "default", PoolConfig::default())?;
    for percent in CEILINGS {
        let ceiling = Some(trace.peak_live() / 100 * percent);
        let footprint = format!("under {:.2}", percent as f64 / 100.0);
        row(name, trace, &footprint, PoolConfig::default().with_ceiling(ceiling))?;
    }
    row(name, trace, "lazy", PoolConfig::default().with_footprint(Footprint::Lazy))
}

/// What a pass did.
struct Pass {
    moves: u64,
    moved: u64,
    calls: u64,
}

fn row(
    name: &str,
    trace: &Trace,
    footprint: &str,
    config: PoolConfig,
) -> Result<(), Box<dyn Error>> {
    let device = device(80 << 30);
    let pool = Pool::new(VirtualArena::new(device.clone())?, config)?;
    let handle = pool.handle();
    let mut program = Program::new(&pool, &device, trace);
    let mut at_passes: Vec<(Counters, u64)> = Vec::new();
    let now = || (handle.counters().unwrap_or_default(), device.calls().total());
    let ran = program.run(trace, |mark| {
        if mark == Mark::Pass {
            at_passes.push(now());
        }
        true
    });
    program.free_all();
    at_passes.push(now());
    if let Err(error) = ran {
        println!("| {name} | {footprint} | does not run: {:?} | | | | |", error.kind());
        return Ok(());
    }
    let pass = |pair: &[(Counters, u64)]| Pass {
        moves: pair[1].0.moves - pair[0].0.moves,
        moved: (pair[1].0.bytes_moved - pair[0].0.bytes_moved) >> 20,
        calls: pair[1].1 - pair[0].1,
    };
    let passes: Vec<Pass> = at_passes.windows(2).map(pass).collect();
    let counters = now().0;
    let [first, second, third, .., last] = &passes[..] else { return Ok(()) };
    println!(
        "| {name} | {footprint} | {:.4} | {} / {} / {} | {} / {} / {} | {} / {} / {} / {} | {:.2} |",
        counters.peak_reserved as f64 / trace.peak_live() as f64,
        first.moves,
        second.moves,
        last.moves,
        first.moved,
        second.moved,
        last.moved,
        first.calls,
        second.calls,
        third.calls,
        last.calls,
        counters.aliased as f64 / counters.peak_reserved as f64,
    );
    Ok(())
}
