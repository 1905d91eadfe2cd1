//! Writes a generated workload as a file that other tools read, such as `peers/replay.py`.
//!
//! ```sh
//! cargo run -p vmem-benches --example export_trace -- overlay-2s 10k > overlay-2s.csv
//! ```
//!
//! Arguments: the workload, and if wanted the scale and the number of passes. The output is a log in
//! the format of RMM's logging adaptor, which keeps the streams.

use std::error::Error;
use std::io;

use vmem_trace::{Workload, write_rmm_log};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or_else(|| {
        let names = Workload::ALL.map(Workload::name).join(", ");
        format!("usage: export_trace WORKLOAD [SCALE [PASSES]], of the workloads {names}")
    })?;
    let workload: Workload = name.parse()?;
    let mut options = workload.defaults();
    if let Some(scale) = arguments.next() {
        options.scale = scale.parse()?;
    }
    if let Some(passes) = arguments.next() {
        options.passes = passes.parse()?;
    }
    let trace = workload.generate(&options)?;
    write_rmm_log(&trace, io::BufWriter::new(io::stdout().lock()))?;
    Ok(())
}
