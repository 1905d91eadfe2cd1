//! Recordings of our own.

use std::collections::HashMap;

use vmem_core::Label;

use super::{Numbers, ReadError};
use crate::record::format::{Decoder, Entry, Kind, MAGIC};
use crate::{Origin, Trace, TraceBuilder};

/// Reads a recording that starts with [`MAGIC`].
pub(super) fn read(name: &str, bytes: &[u8]) -> Result<Trace, ReadError> {
    let mut recording = Recording {
        builder: TraceBuilder::new(),
        labels: vec![Label::NONE],
        streams: Numbers::default(),
        threads: Numbers::default(),
        live: HashMap::new(),
        late: HashMap::new(),
    };
    let mut decoder = Decoder(&bytes[MAGIC.len()..]);
    while !decoder.0.is_empty() {
        let at = bytes.len() - decoder.0.len();
        recording
            .entry(&mut decoder)
            .map_err(|reason| ReadError::new(name, format!("at byte {at}: {reason}")))?;
    }
    Ok(recording.builder.finish(name))
}

struct Recording {
    builder: TraceBuilder,
    labels: Vec<Label>,
    streams: Numbers<u64>,
    threads: Numbers<u32>,
    /// The block at each address.
    live: HashMap<u64, Block>,
    /// Sizes of blocks that were gone, because their address was handed out again, before the
    /// thread that freed them had noted it.
    late: HashMap<u64, Vec<u64>>,
}

struct Block {
    slot: u32,
    size: u64,
    origin: Origin,
}

impl Recording {
    fn entry(&mut self, decoder: &mut Decoder<'_>) -> Result<(), String> {
        const CUT: &str = "the recording is cut off";
        let kind = decoder.bytes(1).ok_or(CUT)?[0];
        match Kind::from_byte(kind) {
            Some(Kind::Label) => {
                let number = decoder.u32().ok_or(CUT)?;
                let length = decoder.u32().ok_or(CUT)?;
                let length = usize::try_from(length).map_err(|_| CUT)?;
                let name = str::from_utf8(decoder.bytes(length).ok_or(CUT)?)
                    .map_err(|_| "a label is not text in UTF-8")?;
                if usize::try_from(number) != Ok(self.labels.len()) {
                    return Err(format!("label {number} is out of order"));
                }
                self.labels.push(Label::intern(name));
                Ok(())
            }
            Some(kind) => {
                let entry = decoder.entry().ok_or(CUT)?;
                self.event(kind, &entry)
            }
            None => Err(format!("an entry of the unknown kind {kind}; accepted are 0 to 3")),
        }
    }

    fn event(&mut self, kind: Kind, entry: &Entry) -> Result<(), String> {
        let Entry { address, size, .. } = *entry;
        if kind == Kind::Free && self.was_late(address, size) {
            return Ok(());
        }
        let label = usize::try_from(entry.label)
            .ok()
            .and_then(|label| self.labels.get(label).copied())
            .ok_or_else(|| format!("label {} is not defined", entry.label))?;
        let origin = Origin {
            stream: self.streams.number(entry.stream),
            thread: self.threads.number(entry.thread),
        };
        match kind {
            Kind::Allocate => self.allocate(address, size, origin, label),
            Kind::Free => self.free(address, size, origin),
            Kind::Failure | Kind::Label => {
                self.builder.failure(size, origin).map_err(|e| e.to_string())
            }
        }
    }

    fn allocate(
        &mut self,
        address: u64,
        size: u64,
        origin: Origin,
        label: Label,
    ) -> Result<(), String> {
        if let Some(gone) = self.live.remove(&address) {
            self.late.entry(address).or_default().push(gone.size);
            let freed = self.builder.free(gone.slot, gone.origin);
            freed.map_err(|error| error.to_string())?;
        }
        let slot = self.builder.allocate(size, origin, label);
        let slot = slot.map_err(|error| error.to_string())?;
        self.live.insert(address, Block { slot, size, origin });
        Ok(())
    }

    fn free(&mut self, address: u64, size: u64, origin: Origin) -> Result<(), String> {
        match self.live.remove(&address) {
            Some(block) if block.size == size => {
                let freed = self.builder.free(block.slot, origin);
                freed.map(drop).map_err(|error| error.to_string())
            }
            Some(Block { size: allocated, .. }) => {
                Err(format!("frees {size} bytes of the {allocated} allocated at {address:#x}"))
            }
            None => Err(format!("no live block is at {address:#x} to be freed")),
        }
    }

    /// Whether this is the late note of a free that has taken effect.
    fn was_late(&mut self, address: u64, size: u64) -> bool {
        let late = self.late.get_mut(&address);
        let noted = late.and_then(|late| {
            let at = late.iter().position(|&gone| gone == size)?;
            Some(late.swap_remove(at))
        });
        noted.is_some()
    }
}
