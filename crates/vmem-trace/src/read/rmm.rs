//! Logs of RMM: of its logging adaptor, and of its debug logger.

use std::io::BufRead;

use super::history::{History, Trouble, Who};
use super::lines::{self, Fields, Line, Lines, MOST_COLUMNS};
use super::notes::Judge;
use super::numbers::Numbers;
use super::{Irregularity, ReadError, Sites};
use crate::Trace;

pub(crate) const HEADER: &str = "Thread,Time,Action,Pointer,Size,Stream";

const ACTIONS: &str = "allocate, free, deallocate, allocate failure";

/// Where the fields of a row are.
#[derive(Debug)]
struct Columns {
    /// The header, for messages.
    text: String,
    count: usize,
    thread: Option<usize>,
    time: Option<usize>,
    action: usize,
    pointer: usize,
    size: usize,
    stream: Option<usize>,
    /// Whether a free tells its size; the first logs of 2019 had zero there.
    frees_have_sizes: bool,
}

enum Action {
    Allocate,
    Free,
    Failure,
}

impl Columns {
    /// Understands a header by its names, in any order and among others.
    fn of_header(fields: &Fields<'_>) -> Option<Self> {
        if fields.count > MOST_COLUMNS {
            return None;
        }
        Some(Self {
            text: (0..fields.count).map(|column| fields.get(column)).collect::<Vec<_>>().join(","),
            count: fields.count,
            thread: fields.column(&["thread"]),
            time: fields.column(&["time"]),
            action: fields.column(&["action", "event type"])?,
            pointer: fields.column(&["pointer", "address"])?,
            size: fields.column(&["size", "size (bytes)"])?,
            stream: fields.column(&["stream"]),
            frees_have_sizes: fields.column(&["event type"]).is_none(),
        })
    }

    /// Understands a row without a header by what is in it: the columns of today, or those before
    /// threads were logged.
    fn of_row(fields: &Fields<'_>) -> Option<Self> {
        let today = fields.count == 6;
        let first = usize::from(today);
        let text = if today { HEADER } else { HEADER.split_once(',')?.1 };
        let known = action(fields.get(first + 1)).is_some()
            && hexadecimal("pointer", fields.get(first + 2)).is_ok()
            && (today || fields.count == 5);
        known.then(|| Self {
            text: text.to_owned(),
            count: fields.count,
            thread: today.then_some(0),
            time: Some(first),
            action: first + 1,
            pointer: first + 2,
            size: first + 3,
            stream: Some(first + 4),
            frees_have_sizes: true,
        })
    }
}

/// Whether a line is of such a log: a header, a row, or one of the debug logger's.
pub(super) fn is_of_log(fields: &Fields<'_>, text: &str) -> bool {
    Columns::of_header(fields).is_some()
        || Columns::of_row(fields).is_some()
        || text.starts_with('[') && DebugLine::parse(text).is_some()
}

/// Reads a log.
pub(super) fn read<R: BufRead>(
    file: &str,
    mut lines: Lines<'_, R>,
    sites: Sites,
    judge: &mut Judge,
) -> Result<Trace, ReadError> {
    let (threads, history) = (Numbers::default(), History::default());
    let mut log = Log { columns: None, threads, history, sites, clock: Clock::default() };
    while let Some(line) = lines.next()? {
        log.line(&line, judge)?;
    }
    log.sites.note_unused(file, judge)?;
    let trace = log.history.finish(file, &log.sites.names);
    trace.map_err(|error| ReadError::new(file, error.to_string()))
}

struct Log {
    columns: Option<Columns>,
    threads: Numbers<String>,
    history: History,
    sites: Sites,
    clock: Clock,
}

/// The time of day in a log that may run past midnight.
#[derive(Default)]
struct Clock {
    /// The last time, in nanoseconds since the midnight before the log.
    last: u64,
}

impl Clock {
    const DAY: u64 = 86_400_000_000_000;

    /// So many nanoseconds after that midnight, for a time of day. A time that is a little earlier than
    /// the last is of a thread that wrote late; half a day earlier is tomorrow.
    fn at(&mut self, of_day: u64) -> u64 {
        let mut time = self.last - self.last % Self::DAY + of_day;
        if self.last.saturating_sub(time) > Self::DAY / 2 {
            time += Self::DAY;
        }
        self.last = self.last.max(time);
        time
    }
}

/// A time of day, in nanoseconds: hours, minutes, seconds, and a fraction of them after a point or, as the
/// debug logger writes it, a colon.
fn time_of_day(text: &str) -> Option<u64> {
    let mut parts = text.split([':', '.']);
    let mut below = |bound: u64| {
        let part: u64 = parts.next()?.parse().ok()?;
        (part < bound).then_some(part)
    };
    let seconds = below(24)? * 3600 + below(60)? * 60 + below(61)?;
    let fraction = parts.next().unwrap_or("0");
    let digits = u32::try_from(fraction.len()).ok().filter(|&digits| digits <= 9)?;
    let fraction: u64 = fraction.parse().ok()?;
    Some(seconds * 1_000_000_000 + fraction * 10_u64.pow(9 - digits))
}

impl Log {
    /// What comes next happened at this time of day, if it is one.
    fn at(&mut self, time: &str) {
        if let Some(of_day) = time_of_day(time) {
            let time = self.clock.at(of_day);
            self.history.at(time);
        }
    }

    fn line(&mut self, line: &Line<'_>, judge: &mut Judge) -> Result<(), ReadError> {
        let foreign = |judge: &mut Judge, reason: String| {
            let what = if line.ended { Irregularity::ForeignLine } else { Irregularity::CutEnd };
            judge.note(what, || line.error(reason))
        };
        if let Some(odd) = line.odd {
            return foreign(judge, odd.to_owned());
        }
        let fields = line.fields();
        if self.columns.is_none() && line.text.starts_with('[') {
            return match DebugLine::parse(&line.text) {
                Some(debug) => self.debug(&debug, line, judge),
                None => foreign(judge, "it is no line of the debug logger".to_owned()),
            };
        }
        let known = self.columns.as_ref().is_some_and(|columns| {
            columns.count == fields.count && action(fields.get(columns.action)).is_some()
        });
        if !known && let Some(columns) = Columns::of_header(&fields) {
            self.columns = Some(columns);
            if self.history.len() > 0 {
                judge.note(Irregularity::NewRun, || line.error("another log begins"))?;
                let ended = self.history.begin_anew();
                ended.or_else(|trouble| judged(judge, line, &trouble))?;
            }
            return Ok(());
        }
        if self.columns.is_none() {
            self.columns = Columns::of_row(&fields);
            if self.columns.is_none() {
                return foreign(judge, format!("it is no row of {HEADER}"));
            }
            let reason = format!("there is no header before it; accepted is {HEADER}");
            judge.note(Irregularity::NoHeader, || line.error(reason))?;
        }
        let Some(columns) = self.columns.take() else { return Ok(()) };
        let done = if fields.count == columns.count {
            self.row(&columns, &fields, line, judge)
        } else {
            let Columns { count, text, .. } = &columns;
            foreign(
                judge,
                format!("{} fields; accepted are the {count} fields {text}", fields.count),
            )
        };
        self.columns = Some(columns);
        done
    }

    fn row(
        &mut self,
        columns: &Columns,
        fields: &Fields<'_>,
        line: &Line<'_>,
        judge: &mut Judge,
    ) -> Result<(), ReadError> {
        let bad = |judge: &mut Judge, reason: String| {
            let what = if line.ended { Irregularity::BadField } else { Irregularity::CutEnd };
            judge.note(what, || line.error(reason))
        };
        let pointer = fields.get(columns.pointer);
        let Some(action) = action(fields.get(columns.action)) else {
            let given = fields.get(columns.action);
            return bad(judge, format!("the action {given:?} is not one of {ACTIONS}"));
        };
        let understood = || {
            let thread = columns.thread.map(|thread| fields.get(thread));
            if thread == Some("") {
                return Err("the thread is missing".to_owned());
            }
            let size = lines::size(fields.get(columns.size))?;
            let stream = columns.stream.map_or("0", |stream| fields.get(stream));
            let stream = hexadecimal("stream", stream)?;
            let address = match action {
                Action::Failure => 0,
                _ => hexadecimal("pointer", pointer)?,
            };
            Ok((thread.unwrap_or_default(), size, stream, address))
        };
        let (thread, size, stream, address) = match understood() {
            Ok(understood) => understood,
            Err(reason) => return bad(judge, reason),
        };
        let who = Who { stream, thread: self.threads.number_to_be(thread).into() };
        if let Some(time) = columns.time {
            self.at(fields.get(time));
        }
        let zero = |judge: &mut Judge| {
            judge.note(Irregularity::ZeroSize, || {
                line.error("the size is 0; a block has at least 1 byte")
            })
        };
        let done = match action {
            Action::Allocate if size == 0 => return zero(judge),
            Action::Allocate => {
                let label = self.sites.next(address, size);
                self.history.allocate((address, size), who, line.number, label)
            }
            Action::Free if size == 0 && !self.history.is_live(address) => return zero(judge),
            Action::Free => {
                let size = (size != 0 || columns.frees_have_sizes).then_some(size);
                self.history.free(address, size, who)
            }
            Action::Failure => self.history.failure(size, who),
        };
        self.done(done, thread, line, judge)
    }

    fn debug(
        &mut self,
        debug: &DebugLine<'_>,
        line: &Line<'_>,
        judge: &mut Judge,
    ) -> Result<(), ReadError> {
        let DebugLine::Event { thread, time, frees, stream, size, address } = *debug else {
            return Ok(());
        };
        let who = Who { stream, thread: self.threads.number_to_be(thread).into() };
        self.at(time);
        let done = if size == 0 || address == 0 {
            return judge
                .note(Irregularity::ZeroSize, || line.error("nothing was allocated or freed"));
        } else if !frees {
            self.history.allocate((address, size), who, line.number, 0)
        } else {
            // It tells what was asked for; an allocation, what was given.
            let known = self.history.is_known(address);
            self.history.free(address, (!known).then_some(size), who)
        };
        self.done(done, thread, line, judge)
    }

    /// An event was taken into the history, or not: of the threads only those there keep their names.
    fn done(
        &mut self,
        done: Result<(), Trouble>,
        thread: &str,
        line: &Line<'_>,
        judge: &mut Judge,
    ) -> Result<(), ReadError> {
        if !matches!(done, Err(Trouble::Refused(_) | Trouble::NotLive { .. })) {
            self.threads.number(thread);
        }
        done.or_else(|trouble| judged(judge, line, &trouble))
    }
}

/// Notes a trouble, or passes on what ends the reading.
fn judged(judge: &mut Judge, line: &Line<'_>, trouble: &Trouble) -> Result<(), ReadError> {
    let error = || line.error(trouble.words("in line"));
    match trouble.what() {
        Some(what) => judge.note(what, error),
        None => Err(error()),
    }
}

/// A line of the debug logger: `[thread][time][level] message`.
enum DebugLine<'a> {
    Event {
        thread: &'a str,
        time: &'a str,
        frees: bool,
        stream: u64,
        size: u64,
        address: u64,
    },
    /// Anything else that it says.
    Other,
}

impl<'a> DebugLine<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix('[')?;
        let (thread, rest) = rest.split_once("][")?;
        let (time, rest) = rest.split_once("][")?;
        let (_level, message) = rest.split_once(']')?;
        let thread = thread.trim();
        let numbers = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b':');
        if thread.is_empty() || !numbers(thread) || !time.contains(':') || !numbers(time) {
            return None;
        }
        Some(Self::event((thread, time), message.trim()).unwrap_or(Self::Other))
    }

    /// `[A][stream 0x0][256B][0x7f00]`, or `D` for a free. A request without a pointer has not been
    /// answered yet.
    fn event((thread, time): (&'a str, &'a str), message: &str) -> Option<Self> {
        let message = message.strip_prefix('[')?.strip_suffix(']')?;
        let mut parts = message.split("][");
        let frees = match parts.next()? {
            "A" => false,
            "D" => true,
            _ => return None,
        };
        let stream = hexadecimal("stream", parts.next()?.strip_prefix("stream ")?).ok()?;
        let size = parts.next()?.strip_suffix('B')?.parse().ok()?;
        let address = hexadecimal("pointer", parts.next()?).ok()?;
        parts.next().is_none().then_some(Self::Event { thread, time, frees, stream, size, address })
    }
}

fn action(field: &str) -> Option<Action> {
    let is = |name: &str| field.eq_ignore_ascii_case(name);
    if is("allocate") || is("alloc") {
        Some(Action::Allocate)
    } else if is("free") || is("deallocate") {
        Some(Action::Free)
    } else {
        is("allocate failure").then_some(Action::Failure)
    }
}

/// An address or a stream handle. RMM writes both in hexadecimal, with or without `0x`; a null
/// pointer as `(nil)` too.
pub(super) fn hexadecimal(what: &str, field: &str) -> Result<u64, String> {
    if field == "(nil)" {
        return Ok(0);
    }
    let digits = field.strip_prefix("0x").unwrap_or(field);
    let only_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    u64::from_str_radix(digits, 16).ok().filter(|_| only_digits).ok_or_else(|| {
        format!("the {what} {field:?} is not a hexadecimal number of at most 64 bits")
    })
}
