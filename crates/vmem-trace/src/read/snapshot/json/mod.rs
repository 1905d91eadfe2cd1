//! Snapshots written with `json.dump`.

mod stack;
mod values;

use std::fmt;
use std::io::{self, BufReader, Read};

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use stack::Stack;
use values::{Active, OfText, Whole, Word};

use super::{Action, Devices, Entry, InUse, ReadOptions, TOO_MANY};
use crate::Trace;
use crate::read::notes::Judge;
use crate::read::{Irregularity, ReadError};

const ACCEPTED: &str = "accepted is what torch.cuda.memory._snapshot() returns, written with \
                        json.dump: an object with device_traces, a list for each device";

/// Reads a snapshot as it comes in, keeping no more of it than a trace does.
pub(in crate::read) fn read(
    file: &str,
    from: impl Read,
    options: ReadOptions,
    judge: &mut Judge,
) -> Result<Trace, ReadError> {
    let mut reading =
        Reading { devices: Devices::new(file, options), refused: None, histories: false };
    let texts = ShortTexts { from, since: 0, escaped: false };
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(texts));
    let done = Object(&mut reading).deserialize(&mut json).and_then(|()| json.end());
    if let Some(refused) = reading.refused {
        return Err(refused);
    }
    if let Err(error) = done {
        if error.is_io() {
            return Err(ReadError::from_io(file, error.into()));
        }
        let reason = format!("it is not JSON of a snapshot ({error}); {ACCEPTED}");
        let refused = ReadError::new(file, reason).at(error.line(), "");
        if !error.is_eof() || !reading.histories {
            return Err(refused);
        }
        judge.note(Irregularity::CutEnd, || refused)?;
    }
    if !reading.histories {
        return Err(ReadError::new(file, format!("no device_traces; {ACCEPTED}")));
    }
    reading.devices.finish(judge)
}

/// The longest text, in bytes. The parser keeps a text as a whole, even one of which nothing is kept.
const LONGEST_TEXT: usize = 1 << 20;

/// Passes on JSON whose texts are not too long.
struct ShortTexts<R> {
    from: R,
    /// How many bytes there were since the last quotation mark.
    since: usize,
    /// Whether the last byte was a backslash that means the next.
    escaped: bool,
}

impl<R: Read> Read for ShortTexts<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(into)?;
        for &byte in &into[..count] {
            let marks = byte == b'"' && !self.escaped;
            self.escaped = byte == b'\\' && !self.escaped;
            self.since = if marks { 0 } else { self.since + 1 };
            if self.since > LONGEST_TEXT {
                let reason = format!("it has a text longer than {LONGEST_TEXT} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
        }
        Ok(count)
    }
}

struct Reading<'a> {
    devices: Devices<'a>,
    /// Why an entry was refused. The parser can only be told to stop.
    refused: Option<ReadError>,
    /// Whether there are histories at all.
    histories: bool,
}

/// The snapshot itself.
struct Object<'r, 'a>(&'r mut Reading<'a>);
/// The histories of all devices.
struct Histories<'r, 'a>(&'r mut Reading<'a>);
/// The history of the device of that number.
struct OneHistory<'r, 'a>(&'r mut Reading<'a>, usize);
/// The segments.
struct Segments<'r, 'a>(&'r mut Reading<'a>);
/// One of them.
struct Segment<'r, 'a>(&'r mut Reading<'a>);

impl<'de> DeserializeSeed<'de> for Object<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Word(key)) = map.next_key::<Word<Key>>()? {
            match key {
                Key::DeviceTraces => {
                    self.0.histories = true;
                    map.next_value_seed(Histories(self.0))?;
                }
                Key::Segments => map.next_value_seed(Segments(self.0))?,
                Key::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Implements the reading of a list, element by element.
macro_rules! list {
    ($list:ident, $expecting:literal, |$self:ident, $seq:ident| $body:block) => {
        impl<'de> DeserializeSeed<'de> for $list<'_, '_> {
            type Value = ();

            fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
                from.deserialize_seq(self)
            }
        }

        impl<'de> Visitor<'de> for $list<'_, '_> {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($expecting)
            }

            fn visit_seq<S: SeqAccess<'de>>($self, mut $seq: S) -> Result<(), S::Error> {
                $body
                Ok(())
            }
        }
    };
}

list!(Histories, "a list for each device", |self, seq| {
    loop {
        let device = self.0.devices.begin().ok_or_else(|| S::Error::custom(TOO_MANY))?;
        if seq.next_element_seed(OneHistory(self.0, device))?.is_none() {
            break;
        }
    }
});

list!(OneHistory, "a list of entries", |self, seq| {
    while let Some(Given { action, addr, size, stream, time_us, frames }) = seq.next_element()? {
        let entry = Entry {
            action: action.map(|Word(action)| action),
            address: addr.0,
            size: size.0,
            stream: stream.0,
            time: time_us.0,
            label: self.0.devices.labels.of(frames.iter()),
        };
        if let Err(refused) = self.0.devices.entry(self.1, &entry) {
            self.0.refused = Some(refused);
            return Err(S::Error::custom("an entry was refused"));
        }
    }
});

list!(Segments, "a list of segments", |self, seq| {
    while seq.next_element_seed(Segment(self.0))?.is_some() {}
});

/// The blocks of a segment so far. They may come before what is said of the segment.
struct Blocks {
    in_use: Vec<InSegment>,
    /// Where the next block is unless it says so itself.
    next: Option<Place>,
}

struct InSegment {
    place: Place,
    size: u64,
    frames: Stack,
}

/// An address, or how far it is from the segment's.
#[derive(Clone, Copy)]
enum Place {
    At(u64),
    After(u64),
}

impl Place {
    fn checked_add(self, size: u64) -> Option<Self> {
        match self {
            Self::At(address) => address.checked_add(size).map(Self::At),
            Self::After(distance) => distance.checked_add(size).map(Self::After),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Segment<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Segment<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a segment")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let (mut device, mut stream, mut start) = (Whole(None), Whole(None), Whole(None));
        let mut blocks = Blocks { in_use: Vec::new(), next: Some(Place::After(0)) };
        while let Some(Word(key)) = map.next_key::<Word<SegmentKey>>()? {
            match key {
                SegmentKey::Device => device = map.next_value()?,
                SegmentKey::Stream => stream = map.next_value()?,
                SegmentKey::Address => start = map.next_value()?,
                SegmentKey::Blocks => map.next_value_seed(&mut blocks)?,
                SegmentKey::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let (device, stream) = (device.0.unwrap_or_default(), stream.0.unwrap_or_default());
        for InSegment { place, size, frames } in blocks.in_use {
            let address = match place {
                Place::At(address) => Some(address),
                Place::After(distance) => start.0.and_then(|start| start.checked_add(distance)),
            };
            if let Some(address) = address {
                let label = self.0.devices.labels.of(frames.iter());
                self.0.devices.in_use(InUse { device, address, size, stream, label });
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &mut Blocks {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &mut Blocks {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of blocks")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<(), S::Error> {
        while let Some(block) = seq.next_element()? {
            let Block { address, size, requested_size, state, frames } = block;
            let place = address.0.map(Place::At).or(self.next);
            let size = size.0.unwrap_or_default();
            self.next = place.and_then(|place| place.checked_add(size));
            let size = requested_size.0.filter(|&size| size > 0).unwrap_or(size);
            if let (Some(place), true, 1..) = (place, state.0, size) {
                self.in_use.push(InSegment { place, size, frames });
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Given {
    #[serde(default)]
    action: Option<Word<Action>>,
    #[serde(default)]
    addr: Whole,
    #[serde(default)]
    size: Whole,
    #[serde(default)]
    stream: Whole,
    #[serde(default)]
    time_us: Whole,
    #[serde(default)]
    frames: Stack,
}

#[derive(Deserialize)]
struct Block {
    #[serde(default)]
    address: Whole,
    #[serde(default)]
    size: Whole,
    #[serde(default)]
    requested_size: Whole,
    #[serde(default)]
    state: Active,
    #[serde(default)]
    frames: Stack,
}

#[derive(Clone, Copy)]
enum Key {
    DeviceTraces,
    Segments,
    Other,
}

impl OfText for Key {
    fn of_text(text: &str) -> Self {
        match text {
            "device_traces" => Self::DeviceTraces,
            "segments" => Self::Segments,
            _ => Self::Other,
        }
    }
}

#[derive(Clone, Copy)]
enum SegmentKey {
    Device,
    Stream,
    Address,
    Blocks,
    Other,
}

impl OfText for SegmentKey {
    fn of_text(text: &str) -> Self {
        match text {
            "device" => Self::Device,
            "stream" => Self::Stream,
            "address" => Self::Address,
            "blocks" => Self::Blocks,
            _ => Self::Other,
        }
    }
}

impl OfText for Action {
    fn of_text(text: &str) -> Self {
        Self::of(text)
    }
}
