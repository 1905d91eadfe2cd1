//! `vmem-lab compact`: traces as the logs that come with `vmem-trace`.

use std::fs;
use std::io;
use std::path::Path;

use flate2::{Compression, GzBuilder};
use vmem_cli::Console;
use vmem_cli::parts::{Error, Verdict, bytes, traces};
use vmem_trace::{ReadOptions, Trace, write_recording};

use crate::args::Compact;

/// Writes each trace, and says how long its file became.
///
/// # Errors
/// Usage, if a file cannot be read as a trace; an output that cannot be written.
pub(crate) fn run(args: &Compact, console: &mut Console<'_>) -> Result<Verdict, Error> {
    for path in &args.traces {
        let trace = traces::read(path, &ReadOptions::default(), console.err)?.without_times();
        let written = args.into.join(format!("{}.trace.gz", trace.name()));
        let length = write(&trace, &written).map_err(|error| {
            Error::failed(format!("cannot write `{}`: {error}", written.display()))
        })?;
        let length = bytes::show(length);
        writeln!(console.out, "{}: {} events, {length}", written.display(), trace.events().len())?;
    }
    Ok(Verdict::Passed)
}

/// Writes a compressed recording whose bytes depend on the trace alone. Returns its length.
fn write(trace: &Trace, to: &Path) -> io::Result<u64> {
    let file = fs::File::create(to)?;
    let mut packed = GzBuilder::new().mtime(0).write(file, Compression::best());
    write_recording(trace, io::BufWriter::new(&mut packed))?;
    packed.finish()?.metadata().map(|metadata| metadata.len())
}
