//! Handles of the host's memory, which are kept ready because making one takes long.

use std::sync::atomic::Ordering;

use vmem_core::{DriverError, ResidencyError, ResidencyErrorKind};

use super::{Handles, Piece, VirtualArena};
use crate::supply::Place;

/// The most that a handle of the host's memory has. Larger ones save little, and what is kept ready in them
/// serves no smaller block.
const LARGEST: u64 = 32 << 20;

/// A reserve is made of handles of such a part of what is missing each, so that there are small ones too.
const PART: u64 = 64;

impl Handles {
    /// Bytes of the host's memory that nothing uses.
    pub(crate) fn ready_on_host(&self) -> u64 {
        self.reserve.iter().map(|piece| piece.size).sum()
    }

    /// Takes the largest handle out of the reserve that has at most so many bytes.
    fn take_ready(&mut self, most: u64) -> Option<Piece> {
        let pieces = self.reserve.iter().enumerate().filter(|(_, piece)| piece.size <= most);
        let (index, _) = pieces.max_by_key(|(_, piece)| piece.size)?;
        Some(self.reserve.remove(index))
    }
}

impl VirtualArena {
    /// Bytes of the host's memory that are held.
    pub(crate) fn held_on_host(&self) -> u64 {
        self.host_held.load(Ordering::Relaxed)
    }

    /// From now on no more than so many bytes of the host's memory are held.
    pub(crate) fn limit_host(&self, bytes: u64) {
        self.host_limit.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn host_limit(&self) -> u64 {
        self.host_limit.load(Ordering::Relaxed)
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
        let bytes = bytes.checked_next_multiple_of(self.granule);
        let bytes = bytes.unwrap_or(u64::MAX / self.granule * self.granule);
        held.keep = bytes;
        let (kept, mut going): (Vec<Piece>, Vec<Piece>) =
            std::mem::take(&mut held.reserve).into_iter().partition(|piece| piece.size <= bytes);
        held.reserve = kept;
        let mut more = held.ready_on_host().saturating_sub(bytes);
        while let Some(piece) = held.take_ready(more) {
            more -= piece.size;
            going.push(piece);
        }
        // One that the driver does not take back is kept, and the others go all the same.
        let gone = going.into_iter().map(|piece| self.try_release(piece, &mut held.reserve));
        gone.fold(Ok(()), Result::and).map_err(driver)?;
        while held.ready_on_host() < bytes {
            let missing = bytes - held.ready_on_host();
            let part = (missing / PART).clamp(self.granule, LARGEST);
            let mut piece = self.create_on_host(part / self.granule * self.granule)?;
            let opened = self.open_view(&mut piece);
            held.reserve.push(piece);
            opened.map_err(driver)?;
        }
        Ok(())
    }

    /// A handle of at most so many bytes of the host's memory: one that is ready, or else a new one.
    pub(super) fn take_of_host(
        &self,
        held: &mut Handles,
        missing: u64,
    ) -> Result<Piece, ResidencyError> {
        let mut piece = match held.take_ready(missing) {
            Some(piece) => piece,
            None => self.create_beside_ready(held, missing)?,
        };
        if let Err(error) = self.open_view(&mut piece) {
            self.give_to_reserve(held, piece);
            return Err(driver(error));
        }
        Ok(piece)
    }

    /// A handle of the host's memory is not used any more: it is kept ready. What is ready beyond what is to
    /// be kept goes back, the largest first, because small ones serve every block; less than a handle may be
    /// kept above that, but none that is larger than all of it.
    pub(super) fn give_to_reserve(&self, held: &mut Handles, piece: Piece) {
        held.reserve.push(piece);
        while let Some(piece) = held.take_ready(u64::MAX) {
            if held.ready_on_host() < held.keep && piece.size <= held.keep {
                held.reserve.push(piece);
                break;
            }
            if let Err(error) = self.try_release(piece, &mut held.reserve) {
                tracing::warn!(%error, "the host's memory was not taken back; it is kept for reuse");
                break;
            }
        }
    }

    /// Makes a handle of at most so many bytes, in place of larger ones that are ready if the pool may hold
    /// no more.
    fn create_beside_ready(&self, held: &mut Handles, bytes: u64) -> Result<Piece, ResidencyError> {
        let bytes = bytes.min(LARGEST);
        while bytes > self.host_limit().saturating_sub(self.held_on_host())
            && let Some(piece) = held.take_ready(u64::MAX)
        {
            self.try_release(piece, &mut held.reserve).map_err(driver)?;
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
        Ok(Piece::new(handle, bytes, Place::Host))
    }
}

/// An error for a call that failed for no reason of memory.
pub(super) fn driver(error: DriverError) -> ResidencyError {
    ResidencyError::new(ResidencyErrorKind::Driver).with_source(error)
}
