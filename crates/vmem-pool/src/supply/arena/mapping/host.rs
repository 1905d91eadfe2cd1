//! Handles of the host's memory, which are kept ready because making one takes long.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use vmem_core::{DriverError, ResidencyError, ResidencyErrorKind};

use super::{Handles, Mapping, Piece, View};
use crate::supply::Place;

/// The most that a handle of the host's memory has. Larger ones save little, and what is kept ready in them
/// serves no smaller block.
const LARGEST: u64 = 32 << 20;

/// A reserve is made of handles of such a part of what is missing each, so that there are small ones too.
const PART: u64 = 64;

/// The handles that nothing uses, by size.
#[derive(Debug, Default)]
pub(super) struct Reserve {
    by_size: BTreeMap<u64, Vec<Piece>>,
    /// Bytes that are to be kept.
    keep: u64,
}

impl Reserve {
    fn ready(&self) -> u64 {
        self.by_size.iter().map(|(size, pieces)| size * pieces.len() as u64).sum()
    }

    /// Takes out the largest handle of at most so many bytes.
    fn take(&mut self, most: u64) -> Option<Piece> {
        let (&size, pieces) = self.by_size.range_mut(..=most).next_back()?;
        let piece = pieces.pop();
        if pieces.is_empty() {
            self.by_size.remove(&size);
        }
        piece
    }

    fn put(&mut self, piece: Piece) {
        self.by_size.entry(piece.size).or_default().push(piece);
    }
}

impl Mapping {
    /// Bytes of the host's memory that are held.
    pub(crate) fn held_on_host(&self) -> u64 {
        self.host_held.load(Ordering::Relaxed)
    }

    /// Of those, what is not in use.
    pub(crate) fn ready_on_host(&self) -> u64 {
        self.host_ready.load(Ordering::Relaxed)
    }

    /// From now on no more than so many bytes of the host's memory are held.
    pub(crate) fn limit_host(&self, bytes: u64) {
        self.host_limit.store(bytes, Ordering::Relaxed);
    }

    fn host_limit(&self) -> u64 {
        self.host_limit.load(Ordering::Relaxed)
    }

    /// How many more bytes of the host's memory may be used.
    pub(crate) fn host_room(&self) -> u64 {
        let in_use = self.held_on_host().saturating_sub(self.ready_on_host());
        self.host_limit().saturating_sub(in_use)
    }

    /// Whether memory of live blocks can rest on the host. May make driver calls.
    pub(crate) fn can_rest(&self) -> bool {
        self.vm().has_host_memory()
    }

    /// Keeps so many bytes of the host ready from now on: makes what is missing, gives back what is more.
    pub(crate) fn keep_on_host(
        &self,
        held: &mut Handles,
        bytes: u64,
    ) -> Result<(), ResidencyError> {
        let bytes = bytes.next_multiple_of(self.granule);
        held.reserve.keep = bytes;
        while held.reserve.ready() < bytes {
            let missing = bytes - held.reserve.ready();
            let part = (missing / PART).clamp(self.granule, LARGEST);
            let mut piece = self.create_on_host(part / self.granule * self.granule)?;
            let opened = self.open_view(&mut piece);
            held.reserve.put(piece);
            self.note_ready(held);
            opened.map_err(driver)?;
        }
        let mut more = held.reserve.ready() - bytes;
        while let Some(piece) = held.reserve.take(more) {
            more -= piece.size;
            let released = self.release_to_host(held, piece);
            self.note_ready(held);
            released.map_err(driver)?;
        }
        Ok(())
    }

    /// Handles of so many bytes of the host's memory together: those that are ready, then new ones. What
    /// was made by the time a call fails is in the reserve.
    pub(super) fn take_of_host(
        &self,
        held: &mut Handles,
        bytes: u64,
    ) -> Result<Vec<Piece>, ResidencyError> {
        let taken = self.take_all(held, bytes, |held, missing| {
            let mut piece = match held.reserve.take(missing) {
                Some(piece) => piece,
                None => self.create_beside_ready(held, missing)?,
            };
            if let Err(error) = self.open_view(&mut piece) {
                self.give_to_reserve(held, piece);
                return Err(driver(error));
            }
            Ok(piece)
        });
        self.note_ready(held);
        taken
    }

    /// A handle of the host's memory is not used any more: it is kept ready. What is ready beyond what is to
    /// be kept goes back, the largest first, because small ones serve every block.
    pub(super) fn give_to_reserve(&self, held: &mut Handles, piece: Piece) {
        held.reserve.put(piece);
        while let Some(piece) = held.reserve.take(u64::MAX) {
            if held.reserve.ready() < held.reserve.keep {
                held.reserve.put(piece);
                break;
            }
            if let Err(error) = self.release_to_host(held, piece) {
                tracing::warn!(%error, "the host's memory was not taken back; it is kept for reuse");
                break;
            }
        }
        self.note_ready(held);
    }

    /// Makes a handle of at most so many bytes, in place of larger ones that are ready if the pool may hold
    /// no more.
    fn create_beside_ready(&self, held: &mut Handles, bytes: u64) -> Result<Piece, ResidencyError> {
        let bytes = bytes.min(LARGEST);
        while bytes > self.host_limit().saturating_sub(self.held_on_host())
            && let Some(piece) = held.reserve.take(u64::MAX)
        {
            self.release_to_host(held, piece).map_err(driver)?;
        }
        self.create_on_host(bytes)
    }

    fn create_on_host(&self, bytes: u64) -> Result<Piece, ResidencyError> {
        let full = || ResidencyError::new(ResidencyErrorKind::HostFull);
        if bytes > self.host_limit().saturating_sub(self.held_on_host()) {
            let limit = self.host_limit();
            return Err(full().with_source(format!("the pool may use {limit} B of the host")));
        }
        let handle = self.vm().create_on_host(bytes).map_err(|error| {
            if error.is_out_of_memory() { full().with_source(error) } else { driver(error) }
        })?;
        self.host_held.fetch_add(bytes, Ordering::Relaxed);
        Ok(Piece { handle, size: bytes, place: Place::Host, view: View::default() })
    }

    /// Gives a handle back, or keeps it if the driver refuses.
    fn release_to_host(&self, held: &mut Handles, mut piece: Piece) -> Result<(), DriverError> {
        let released = self.close_view(&mut piece).and_then(|()| {
            // SAFETY: contract, devices/handles: a handle of ours; it is used again only if this fails.
            unsafe { self.vm().release(piece.handle) }
        });
        match released {
            Ok(()) => {
                self.host_held.fetch_sub(piece.size, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                held.reserve.put(piece);
                Err(error)
            }
        }
    }

    fn note_ready(&self, held: &Handles) {
        self.host_ready.store(held.reserve.ready(), Ordering::Relaxed);
    }
}

/// An error for a call that failed for no reason of memory.
pub(super) fn driver(error: DriverError) -> ResidencyError {
    ResidencyError::new(ResidencyErrorKind::Driver).with_source(error)
}
