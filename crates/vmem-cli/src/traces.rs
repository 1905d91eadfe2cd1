//! Reading recorded traces, and saying what was odd about them.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use vmem_trace::{ReadOptions, Reading, Sites, Trace};

use crate::Error;

/// Reads a trace from a file, or from standard input if it is called `-`. What the reader got over
/// is written to `notes`, a line for each kind.
///
/// # Errors
/// Usage, if it cannot be read as a trace.
pub fn read(path: &Path, options: &ReadOptions, notes: &mut dyn Write) -> Result<Trace, Error> {
    reading(path, options, None, notes).map(|reading| reading.trace)
}

/// The same with what is known of the file, and with labels from another one.
///
/// # Errors
/// Those of [`read`].
pub(crate) fn reading(
    path: &Path,
    options: &ReadOptions,
    labels: Option<Sites>,
    notes: &mut dyn Write,
) -> Result<Reading, Error> {
    let stdin = path.as_os_str() == "-";
    let shown = if stdin { "stdin".to_owned() } else { path.display().to_string() };
    let read = match labels {
        None if stdin => options.read("stdin", io::stdin().lock()),
        Some(labels) if stdin => options.read_labelled("stdin", io::stdin().lock(), labels),
        None => options.read_path(path),
        Some(labels) => options.read_path_labelled(path, labels),
    };
    let reading = read.map_err(|error| Error::usage(error.to_string()))?;
    for note in &reading.notes {
        writeln!(notes, "note: {shown}: {note}")?;
    }
    Ok(reading)
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
