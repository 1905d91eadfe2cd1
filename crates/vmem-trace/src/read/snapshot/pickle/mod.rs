//! Snapshots as `torch.cuda.memory._dump_snapshot` writes them: pickles.
//!
//! A pickle is a program for a small stack machine. A snapshot needs the part of it that makes
//! lists, dictionaries, tuples, texts and numbers; what would call into Python is refused. Containers
//! are kept as the few fields that a trace needs. What is kept, with the stack and what is
//! referred to, takes at most 24 bytes for each byte read and 1 MiB, or the pickle is refused; and no
//! list is walked twice, so that the time taken is in proportion to the length.

mod bytes;
mod values;
mod words;

use std::collections::HashMap;
use std::io::BufRead;

use bytes::{Bytes, Stop};
use values::{Dict, Item, Values, empty};
use words::{Key, Word};

use super::{Devices, Entry, InUse, ReadOptions, TOO_MANY};
use crate::Trace;
use crate::read::notes::Judge;
use crate::read::{Irregularity, ReadError};

/// How a pickle of protocol 2 to 5 begins, before the number of the protocol.
pub(in crate::read) const PROTO: u8 = 0x80;

/// The longest text that is looked at, in bytes: names of C++ functions can be long.
const LONGEST_TEXT: u64 = 4096;

const ACCEPTED: &str = "accepted is a pickle of plain values, as \
                        torch.cuda.memory._dump_snapshot() writes it";

/// Reads a snapshot.
pub(in crate::read) fn read(
    file: &str,
    from: &mut impl BufRead,
    options: ReadOptions,
    judge: &mut Judge,
) -> Result<Trace, ReadError> {
    let mut values = Values::default();
    let mut bytes = Bytes { from, at: 0 };
    let refuse = |at: u64, reason: String| {
        ReadError::new(file, format!("at byte {at}: {reason}; {ACCEPTED}"))
    };
    let top = loop {
        let at = bytes.at;
        values.budget.read(at);
        match values.step(&mut bytes) {
            Ok(None) => {}
            Ok(Some(top)) => break top,
            Err(Stop::Cut) => {
                judge.note(Irregularity::CutEnd, || refuse(at, "it is cut off".to_owned()))?;
                break values.close();
            }
            Err(Stop::Io(error)) => return Err(ReadError::from_io(file, error)),
            Err(Stop::Bad(reason)) => return Err(refuse(at, reason)),
        }
    };
    values.devices(top, file, options)?.finish(judge)
}

impl Values {
    /// Carries out the next operation. Returns the value at the end of the pickle.
    fn step(&mut self, bytes: &mut Bytes<'_, impl BufRead>) -> Result<Option<Item>, Stop> {
        match bytes.byte()? {
            // PROTO, FRAME
            PROTO => bytes.skip(1)?,
            0x95 => bytes.skip(8)?,
            // STOP
            b'.' => return self.pop().map(Some),
            // MARK, POP, POP_MARK, DUP
            b'(' => self.push(Item::Mark)?,
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => self.push(*self.stack.last().ok_or_else(empty)?)?,
            // NONE, NEWTRUE, NEWFALSE; BINFLOAT
            b'N' | 0x88 | 0x89 => self.push(Item::Other)?,
            b'G' => {
                bytes.skip(8)?;
                self.push(Item::Other)?;
            }
            // BININT, BININT1, BININT2, LONG1, LONG4
            b'J' => {
                let number = i32::from_le_bytes(bytes.array()?);
                self.push(u64::try_from(number).map_or(Item::Other, Item::Number))?;
            }
            b'K' => {
                let number = bytes.byte()?;
                self.push(Item::Number(number.into()))?;
            }
            b'M' => {
                let number = u16::from_le_bytes(bytes.array()?);
                self.push(Item::Number(number.into()))?;
            }
            0x8a => {
                let length = bytes.byte()?.into();
                let number = bytes.long(length)?;
                self.push(number)?;
            }
            0x8b => {
                let length = u32::from_le_bytes(bytes.array()?).into();
                let number = bytes.long(length)?;
                self.push(number)?;
            }
            // SHORT_BINUNICODE, BINUNICODE, BINUNICODE8
            0x8c => self.text(|bytes| Ok(bytes.byte()?.into()), bytes)?,
            b'X' => self.text(|bytes| Ok(u32::from_le_bytes(bytes.array()?).into()), bytes)?,
            0x8d => self.text(|bytes| Ok(u64::from_le_bytes(bytes.array()?)), bytes)?,
            // SHORT_BINSTRING, SHORT_BINBYTES; BINSTRING, BINBYTES; BINBYTES8, BYTEARRAY8
            b'U' | b'C' => self.text(|bytes| Ok(bytes.byte()?.into()), bytes)?,
            b'T' | b'B' => {
                self.text(|bytes| Ok(u32::from_le_bytes(bytes.array()?).into()), bytes)?;
            }
            0x8e | 0x96 => self.text(|bytes| Ok(u64::from_le_bytes(bytes.array()?)), bytes)?,
            // EMPTY_LIST, EMPTY_DICT, EMPTY_TUPLE, EMPTY_SET
            b']' => self.new_list(Vec::new())?,
            b'}' => self.new_dict(&[])?,
            b')' | 0x8f => self.push(Item::Other)?,
            // LIST, DICT, TUPLE, FROZENSET
            b'l' => {
                let items = self.pop_mark()?;
                self.new_list(items)?;
            }
            b'd' => {
                let items = self.pop_mark()?;
                self.new_dict(&items)?;
            }
            b't' | 0x91 => {
                self.pop_mark()?;
                self.push(Item::Other)?;
            }
            // TUPLE1, TUPLE2, TUPLE3
            tuple @ 0x85..=0x87 => {
                for _ in 0x85..=tuple {
                    self.pop()?;
                }
                self.push(Item::Other)?;
            }
            // APPEND, APPENDS; SETITEM, SETITEMS; ADDITEMS
            b'a' => {
                let item = self.pop()?;
                self.add(&[item])?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.add(&[key, value])?;
            }
            b'e' | b'u' | 0x90 => {
                let items = self.pop_mark()?;
                self.add(&items)?;
            }
            // BINPUT, LONG_BINPUT, MEMOIZE
            b'q' => {
                let number = bytes.byte()?.into();
                self.memoize(number)?;
            }
            b'r' => {
                let number = u32::from_le_bytes(bytes.array()?);
                self.memoize(number)?;
            }
            0x94 => self.memoize(u32::try_from(self.memo.len()).unwrap_or(u32::MAX))?,
            // BINGET, LONG_BINGET
            b'h' => {
                let number = bytes.byte()?.into();
                self.recall(number)?;
            }
            b'j' => {
                let number = u32::from_le_bytes(bytes.array()?);
                self.recall(number)?;
            }
            other => return Err(refused(other)),
        }
        Ok(None)
    }

    fn text<R: BufRead>(
        &mut self,
        length: impl FnOnce(&mut Bytes<'_, R>) -> Result<u64, Stop>,
        bytes: &mut Bytes<'_, R>,
    ) -> Result<(), Stop> {
        let length = length(bytes)?;
        if length > LONGEST_TEXT {
            bytes.skip(length)?;
            return self.push(Item::Other);
        }
        let text = bytes.some(length)?;
        match str::from_utf8(&text) {
            Ok(text) => match Word::of(text) {
                Some(word) => self.push(Item::Word(word)),
                None => self.new_text(text),
            },
            Err(_) => self.push(Item::Other),
        }
    }

    /// The histories in a snapshot.
    fn devices<'a>(
        &self,
        top: Item,
        file: &'a str,
        options: ReadOptions,
    ) -> Result<Devices<'a>, ReadError> {
        let top = match top {
            Item::Dict(dict) => self.dicts[crate::trace::index(dict)],
            _ => Dict::default(),
        };
        let Some(histories) = top.parts else {
            return Err(ReadError::new(file, format!("no device_traces; {ACCEPTED}")));
        };
        let mut devices = Devices::new(file, options);
        // No list is walked twice, so that a file cannot take more time than its size. Whatever is in
        // a list takes time, not only what is an entry or a block.
        let mut left = self.all_elements();
        let mut spend = || {
            left = left.checked_sub(1).ok_or_else(|| {
                ReadError::new(file, format!("its lists share what is in them; {ACCEPTED}"))
            })?;
            Ok::<(), ReadError>(())
        };
        // The labels of the stacks met so far, by their lists.
        let mut labels = HashMap::new();
        for history in self.elements(Some(histories)) {
            let begun = devices.begin().ok_or_else(|| ReadError::new(file, TOO_MANY))?;
            let Item::List(history) = *history else { continue };
            for &item in self.elements(Some(history)) {
                spend()?;
                let Some(dict) = self.dict(item) else { continue };
                let label = self.label(dict, &mut labels, &mut devices, &mut spend)?;
                let entry = Entry {
                    action: dict.action,
                    address: dict.number(Key::Address),
                    size: dict.number(Key::Size),
                    stream: dict.number(Key::Stream),
                    time: dict.number(Key::Time),
                    label,
                };
                devices.entry(begun, &entry)?;
            }
        }
        for &item in self.elements(top.segments) {
            spend()?;
            let Some(segment) = self.dict(item) else { continue };
            let device = segment.number(Key::Device).unwrap_or_default();
            let stream = segment.number(Key::Stream).unwrap_or_default();
            let mut next = segment.number(Key::Address);
            for &item in self.elements(segment.parts) {
                spend()?;
                let Some(block) = self.dict(item) else { continue };
                let address = block.number(Key::Address).or(next);
                let size = block.number(Key::Size).unwrap_or_default();
                next = address.and_then(|address| address.checked_add(size));
                let (Some(address), true) = (address, block.in_use) else { continue };
                let requested = block.number(Key::RequestedSize).filter(|&size| size > 0);
                let size = requested.unwrap_or(size);
                let label = self.label(block, &mut labels, &mut devices, &mut spend)?;
                devices.in_use(InUse { device, address, size, stream, label });
            }
        }
        Ok(devices)
    }
}

impl Values {
    /// The number of the label of an entry or a block, from its stack frames.
    fn label(
        &self,
        dict: &Dict,
        labels: &mut HashMap<u32, u32>,
        devices: &mut Devices<'_>,
        spend: &mut impl FnMut() -> Result<(), ReadError>,
    ) -> Result<u32, ReadError> {
        let Some(list) = dict.frames() else { return Ok(0) };
        if let Some(&label) = labels.get(&list) {
            return Ok(label);
        }
        let stack = self.elements(Some(list));
        stack.iter().try_for_each(|_| spend())?;
        let label = devices.labels.of(stack.iter().filter_map(|&frame| self.frame(frame)));
        labels.insert(list, label);
        // Stacks of a few bytes may share frames with long names.
        if devices.labels.bytes > self.budget.most_of_labels() {
            let reason = "the labels of its stack frames take many times its length";
            return Err(ReadError::new(devices.file, format!("{reason}; {ACCEPTED}")));
        }
        Ok(label)
    }
}

/// Why an operation is not carried out.
fn refused(operation: u8) -> Stop {
    // GLOBAL, STACK_GLOBAL, REDUCE, BUILD, INST, OBJ, NEWOBJ, NEWOBJ_EX, the persistent ids and the
    // extensions.
    let code = b"c\x93Rbio\x81\x92PQ\x82\x83\x84";
    Stop::Bad(if code.contains(&operation) {
        format!("operation {operation:#04x} calls into Python, which is not done")
    } else {
        format!("operation {operation:#04x} is unknown")
    })
}
