//! Labels from a file beside a log.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::lines::{self, Lines};
use super::numbers::Names;
use super::rmm::hexadecimal;
use super::{Irregularity, Judge, ReadError};

/// Labels from a file beside a log: for each address, what the blocks allocated there were for, in the
/// order in which they were allocated.
///
/// The file is a CSV file with the columns `Pointer`, `Bytes` (or `Size`) and `Site` (or `Label`), found by
/// their names, a row for each allocation. A site is a label itself, or a number that a second file names: a
/// CSV file with the columns `Site`, `Place` (a file and a line) and `Function`. Its labels are written as
/// PyTorch's viewer writes stack frames, `place:function`.
///
/// ```
/// use vmem_trace::{Event, ReadOptions, Sites};
///
/// let log = "Thread,Time,Action,Pointer,Size,Stream\n1,0,allocate,0x10,8,0\n";
/// let sites = Sites::read("sites", "Pointer,Bytes,Site\n0x10,8,3\n".as_bytes())?;
/// let sites = sites.named("names", "Site,Place,Function\n3,a.py:7,grow\n".as_bytes())?;
/// let reading = ReadOptions::default().read_labelled("log", log.as_bytes(), sites)?;
/// assert!(matches!(reading.trace.events()[0],
///     Event::Allocate { label, .. } if label.as_str() == "a.py:7:grow"));
/// # Ok::<(), vmem_trace::ReadError>(())
/// ```
#[derive(Debug, Default)]
pub struct Sites {
    /// The sizes and sites of the blocks at each address that were not met yet.
    rows: HashMap<u64, VecDeque<(u64, u32)>>,
    /// The sites' numbers here, by what the file calls them.
    numbers: HashMap<String, u32>,
    pub(super) names: Names,
}

impl Sites {
    /// The longest name of a site, in bytes.
    const LONGEST: usize = 4096;

    /// Reads a file of rows; `name` stands for it in errors. O(length), and takes about as much memory.
    ///
    /// # Errors
    /// [`ReadError`] if it cannot be read, lacks a column or has a row that is not understood.
    pub fn read(name: &str, from: impl Read) -> Result<Self, ReadError> {
        let mut sites = Self::default();
        let columns = [&["pointer", "address"][..], &["bytes", "size"], &["site", "label"]];
        each_row(name, from, columns, |[pointer, size, site]| {
            let address = hexadecimal("pointer", pointer)?;
            let size = lines::size(size)?;
            let number = sites.number(site)?;
            sites.rows.entry(address).or_default().push_back((size, number));
            Ok(())
        })?;
        sites.names = Names::of(sites.numbers.iter().map(|(site, &number)| (&**site, number)));
        Ok(sites)
    }

    /// Reads a file of the sites' names. Sites that it does not name keep what the first file calls them.
    ///
    /// # Errors
    /// As of [`read`](Self::read).
    pub fn named(mut self, name: &str, from: impl Read) -> Result<Self, ReadError> {
        let mut named = HashMap::new();
        let columns = [&["site"][..], &["place"], &["function"]];
        each_row(name, from, columns, |[site, place, function]| {
            if let Some(&number) = self.numbers.get(site) {
                named.insert(number, format!("{place}:{function}"));
            }
            Ok(())
        })?;
        let name_of = |(site, number): (String, u32)| {
            (named.remove(&number).unwrap_or_else(|| site.clone()), number)
        };
        let all: Vec<_> = self.numbers.drain().map(name_of).collect();
        self.names = Names::of(all.iter().map(|(name, number)| (&**name, *number)));
        Ok(self)
    }

    /// Reads a file of rows, and one of names if there is one.
    ///
    /// # Errors
    /// As of [`read`](Self::read).
    pub fn read_paths(rows: &Path, names: Option<&Path>) -> Result<Self, ReadError> {
        let open = |path: &Path| {
            let file = path.display().to_string();
            let opened = File::open(path).map_err(|error| ReadError::from_io(&file, error))?;
            Ok((file, opened))
        };
        let (file, opened) = open(rows)?;
        let sites = Self::read(&file, opened)?;
        match names {
            None => Ok(sites),
            Some(names) => {
                let (file, opened) = open(names)?;
                sites.named(&file, opened)
            }
        }
    }

    /// The label of the next block that is allocated at an address; 0 for none.
    pub(super) fn next(&mut self, address: u64, size: u64) -> u32 {
        let Some(rows) = self.rows.get_mut(&address) else { return 0 };
        // A row for a block that the log does not have is passed over, if one for this block follows.
        match rows.iter().position(|&(expected, _)| expected == size) {
            Some(at) => rows.drain(..=at).next_back().map_or(0, |(_, site)| site),
            None => 0,
        }
    }

    /// Notes the rows of blocks that the log does not have. Those of no bytes are no blocks.
    pub(super) fn note_unused(&self, file: &str, judge: &mut Judge) -> Result<(), ReadError> {
        let left =
            self.rows.iter().flat_map(|(address, rows)| rows.iter().map(move |r| (address, r)));
        let mut left = left.filter(|(_, (size, _))| *size > 0);
        let Some((address, (size, _))) = left.next() else { return Ok(()) };
        let count = 1 + left.count() as u64;
        judge.note_many(Irregularity::UnusedLabel, count, || {
            ReadError::new(
                file,
                format!("no block of {size} B at {address:#x} is left to be labelled"),
            )
        })
    }

    fn number(&mut self, site: &str) -> Result<u32, String> {
        if let Some(&number) = self.numbers.get(site) {
            return Ok(number);
        }
        if site.is_empty() || site.len() > Self::LONGEST {
            return Err(format!("the site is not text of 1 to {} bytes", Self::LONGEST));
        }
        let number = u32::try_from(self.numbers.len() + 1).map_err(|error| error.to_string())?;
        self.numbers.insert(site.to_owned(), number);
        Ok(number)
    }
}

/// Does something with the named fields of each row of a table.
fn each_row<const N: usize>(
    file: &str,
    from: impl Read,
    columns: [&[&str]; N],
    mut row: impl FnMut([&str; N]) -> Result<(), String>,
) -> Result<(), ReadError> {
    let mut lines = Lines::new(file, BufReader::new(from));
    let mut places = None;
    while let Some(line) = lines.next()? {
        let fields = line.fields();
        let Some(places) = places else {
            let found = columns.map(|names| fields.column(names));
            if found.contains(&None) {
                let wanted = columns.map(|names| names[0]).join(", ");
                return Err(line.error(format!("it has not the columns {wanted}")));
            }
            places = Some(found.map(Option::unwrap_or_default));
            continue;
        };
        let done = match line.odd {
            Some(odd) => Err(odd.to_owned()),
            None => row(places.map(|place| fields.get(place))),
        };
        // A last row that was cut off is no fault of the others.
        if let Err(reason) = done
            && line.ended
        {
            return Err(line.error(reason));
        }
    }
    Ok(())
}
