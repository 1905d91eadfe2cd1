//! Reading recorded traces, and saying what was odd about them.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use vmem_trace::{ReadOptions, Trace};

use crate::Error;

/// Reads a trace from a file, or from standard input if it is called `-`. What the reader got over
/// is written to `notes`, a line for each kind.
///
/// # Errors
/// Usage, if it cannot be read as a trace.
pub fn read(path: &Path, options: &ReadOptions, notes: &mut dyn Write) -> Result<Trace, Error> {
    let (shown, read) = if path.as_os_str() == "-" {
        ("stdin".to_owned(), options.read("stdin", io::stdin().lock()))
    } else {
        (path.display().to_string(), options.read_path(path))
    };
    let reading = read.map_err(|error| Error::usage(error.to_string()))?;
    for note in &reading.notes {
        writeln!(notes, "note: {shown}: {note}")?;
    }
    Ok(reading.trace)
}

/// The files in a folder that end in `.csv`, by name.
///
/// # Errors
/// A folder that cannot be read.
pub fn tables_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = folder.read_dir()?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "csv"));
    paths.sort();
    Ok(paths)
}
