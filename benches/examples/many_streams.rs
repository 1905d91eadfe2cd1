//! What an allocation and its free cost on two streams and on thousands: instructions, as callgrind
//! counts them, and nanoseconds.
//!
//! ```sh
//! cargo run --release -p vmem-benches --example many_streams
//! ```
//!
//! With `measure WORKLOAD STREAMS PAIRS` it runs so many pairs and prints the nanoseconds of one.

#![allow(clippy::print_stdout, reason = "a table for people at a terminal")]

use std::error::Error;
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::time::Instant;

use vmem_benches::device;
use vmem_core::{BlockLayout, MemoryResource, ResourceExt, Stream};
use vmem_pool::{Pool, PoolConfig, VirtualArena};

const MIB: u64 = 1 << 20;

/// Few streams, and many.
const STREAMS: [usize; 2] = [2, 8000];

/// Pairs that are counted: the difference of two runs, so that nothing else is.
const PAIRS: usize = 4000;

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, workload, streams, pairs] = arguments.as_slice()
        && word == "measure"
    {
        println!("{}", measure(workload, streams.parse()?, pairs.parse()?)?);
        return Ok(());
    }
    println!("an allocation and its free      streams   instructions         ns");
    for workload in ["own", "handed-over"] {
        for streams in STREAMS {
            let counted = instructions(workload, streams)?;
            let counted = counted.map_or("no valgrind".into(), |count| format!("{count:.0}"));
            let time = measure(workload, streams, 100 * PAIRS)?;
            println!("{workload:<30} {streams:>8}   {counted:>12} {time:>10}");
        }
    }
    Ok(())
}

/// Nanoseconds of a pair. `own`: each stream in turn takes a block of its own memory. `handed-over`:
/// two streams take a block from each other, while all others live and have memory of their own.
fn measure(workload: &str, streams: usize, pairs: usize) -> Result<u128, Failure> {
    let device = device(64 << 30);
    let pool = Pool::new(VirtualArena::new(device.clone())?, PoolConfig::default())?;
    let made = (0..streams).map(|_| Stream::new(device.clone()));
    let streams: Vec<Stream> = made.collect::<Result<_, _>>()?;
    let pair = |size, stream: &Stream| -> Result<(), Failure> {
        let block = black_box(pool.allocate_on(BlockLayout::new(size)?, stream)?);
        // SAFETY: contract, freeing: no work is queued on any block.
        unsafe { pool.deallocate(block, stream) }?;
        Ok(())
    };
    let mut live = Vec::new();
    for stream in &streams {
        live.push(pool.allocate_on(BlockLayout::new(MIB)?, stream)?);
    }
    for (block, stream) in live.into_iter().zip(&streams) {
        // SAFETY: as above.
        unsafe { pool.deallocate(block, stream) }?;
    }
    let last = streams.len() - 1;
    let two = [&streams[0], &streams[last]];
    if workload != "own" {
        two.into_iter().try_for_each(|stream| pair(8 * MIB, stream))?;
    }
    let start = Instant::now();
    match workload {
        "own" => (0..pairs).try_for_each(|i| pair(MIB, &streams[i % streams.len()]))?,
        "handed-over" => (0..pairs).try_for_each(|i| pair(8 * MIB, two[i % 2]))?,
        other => return Err(format!("there is no workload {other}").into()),
    }
    Ok(start.elapsed().as_nanos() / pairs.max(1) as u128)
}

/// Instructions of a pair; `None` without valgrind.
fn instructions(workload: &str, streams: usize) -> Result<Option<f64>, Failure> {
    let counted = |pairs: usize| -> Result<Option<f64>, Failure> {
        let arguments = ["measure", workload, &streams.to_string(), &pairs.to_string()];
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        valgrind.arg(std::env::current_exe()?).args(arguments).stdout(Stdio::null());
        let Ok(run) = valgrind.output() else { return Ok(None) };
        let text = String::from_utf8_lossy(&run.stderr).into_owned();
        let collected = text.lines().find_map(|line| line.split("Collected :").nth(1));
        let collected = collected.ok_or_else(|| format!("callgrind counted nothing: {text}"))?;
        Ok(Some(collected.trim().parse()?))
    };
    let (Some(least), Some(most)) = (counted(PAIRS)?, counted(2 * PAIRS)?) else {
        return Ok(None);
    };
    Ok(Some((most - least) / PAIRS as f64))
}
