//! Where documents go.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;

use serde::Serialize;

use crate::Error;

/// The destination of `--json`; `None` if it was not asked for.
#[derive(Debug)]
pub struct Json(Option<Output>);

/// The destination of a document.
#[derive(Debug)]
pub(crate) enum Output {
    /// Standard output.
    Stdout,
    /// A file that appears, or is replaced, as a whole.
    File {
        /// As the user wrote it, for messages.
        named: PathBuf,
        /// Where it really is, links followed.
        path: PathBuf,
    },
    /// Something that is written to and cannot be replaced: a pipe or a device.
    Sink(PathBuf),
}

impl Json {
    /// Understands the argument of `--json` and makes sure, before any work, that it can be
    /// written to.
    ///
    /// # Errors
    /// Usage, with the path and what stands in the way.
    pub fn open(argument: Option<&Path>) -> Result<Self, Error> {
        argument.map(|named| Output::open("--json", named)).transpose().map(Self)
    }

    /// Whether standard output belongs to the document.
    pub fn is_stdout(&self) -> bool {
        matches!(self.0, Some(Output::Stdout))
    }

    /// Writes the document.
    ///
    /// # Errors
    /// What the file system or `stdout` answered; a file is then as it was.
    pub fn write(&self, document: &impl Serialize, stdout: &mut dyn Write) -> Result<(), Error> {
        let Some(output) = &self.0 else { return Ok(()) };
        let mut text = serde_json::to_vec_pretty(document)
            .map_err(|error| Error::failed(format!("it has no JSON form: {error}")))?;
        text.push(b'\n');
        output.write(&text, stdout)
    }
}

impl Output {
    /// Understands the argument of an option and makes sure, before any work, that it can be written to.
    ///
    /// # Errors
    /// Usage, with the path and what stands in the way.
    pub(crate) fn open(option: &str, named: &Path) -> Result<Self, Error> {
        if named == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let refused = |error: &dyn std::fmt::Display| {
            let shown = named.display();
            Error::usage(format!(
                "cannot write `{shown}`: {error}; {option} accepts `-` or a file in a folder that exists"
            ))
        };
        let folder = named.to_string_lossy().ends_with(std::path::is_separator);
        if folder || named.file_name().is_none() {
            return Err(refused(&"it names a folder"));
        }
        let path = match fs::canonicalize(named) {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => named.to_owned(),
            Err(error) => return Err(refused(&error)),
        };
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => return Err(refused(&"it is a folder")),
            Ok(found) if !found.is_file() => return Ok(Self::Sink(path)),
            Ok(found) if found.permissions().readonly() => {
                return Err(refused(&"it is read-only"));
            }
            Ok(_) | Err(_) => {}
        }
        let trial = beside(&path);
        File::create_new(&trial).map_err(|error| refused(&error))?;
        fs::remove_file(&trial).map_err(|error| refused(&error))?;
        Ok(Self::File { named: named.to_owned(), path })
    }

    /// Writes the document.
    ///
    /// # Errors
    /// What the file system or `stdout` answered; a file is then as it was.
    pub(crate) fn write(&self, text: &[u8], stdout: &mut dyn Write) -> Result<(), Error> {
        match self {
            Self::Stdout => stdout.write_all(text).map_err(Error::from),
            Self::Sink(path) => fs::OpenOptions::new()
                .write(true)
                .open(path)
                .and_then(|mut sink| sink.write_all(text))
                .map_err(|error| unwritten(path, &error)),
            Self::File { named, path } => {
                replace(path, text).map_err(|error| unwritten(named, &error))
            }
        }
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Error {
    Error::failed(format!("cannot write `{}`: {error}", path.display()))
}

/// Writes a file beside `path`, then puts it in its place, so that nobody ever sees half of it.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = beside(path);
    let written = File::create_new(&new)
        .and_then(|mut file| {
            file.write_all(text)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // What went wrong first is what the user should hear of.
        let _ = fs::remove_file(&new);
    }
    written
}

/// A name in the same folder that belongs to this process.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", process::id()));
    path.with_file_name(name)
}
