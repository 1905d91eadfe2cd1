//! Writes a generated workload, or a real program's log, as a file that other tools read, such as
//! `peers/replay.py`.
//!
//! ```sh
//! cargo run -p vmem-benches --example export_trace -- overlay-2s 10k > overlay-2s.csv
//! cargo run -p vmem-benches --example export_trace -- torch_gpt > torch_gpt.csv
//! ```
//!
//! Arguments: the workload, and if wanted the scale and the number of passes; or a log of
//! `vmem_trace::Log`. The output is a log in the format of RMM's logging adaptor, which keeps the streams.

use std::error::Error;
use std::io;

use vmem_trace::{Log, Trace, Workload, write_rmm_log};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, sizes)) = arguments.split_first() else {
        let workloads = Workload::ALL.map(Workload::name).join(", ");
        let logs = Log::ALL.map(Log::name).join(", ");
        return Err(format!(
            "usage: export_trace WORKLOAD [SCALE [PASSES]], of the workloads {workloads}; or \
             export_trace LOG, of the logs {logs}"
        )
        .into());
    };
    let trace = match name.parse::<Log>() {
        Ok(log) => log.trace(),
        Err(_) => generate(name, sizes)?,
    };
    write_rmm_log(&trace, io::BufWriter::new(io::stdout().lock()))?;
    Ok(())
}

fn generate(name: &str, sizes: &[String]) -> Result<Trace, Box<dyn Error>> {
    let workload: Workload = name.parse()?;
    let mut options = workload.defaults();
    if let Some(scale) = sizes.first() {
        options.scale = scale.parse()?;
    }
    if let Some(passes) = sizes.get(1) {
        options.passes = passes.parse()?;
    }
    Ok(workload.generate(&options)?)
}
