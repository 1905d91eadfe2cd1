//! Physical memory: bytes that exist apart from the addresses they are seen at.

use std::collections::HashMap;

use super::host::HostBuffer;
use super::residency::Residency;
use crate::checker::Shadow;

/// Physical memory by number. Numbers recur; whoever holds one keeps the memory alive.
pub(crate) type PhysicalId = usize;

/// One piece of physical memory.
#[derive(Debug)]
pub(crate) struct Physical {
    pub(crate) size: u64,
    pub(crate) store: Store,
    pub(crate) shadow: Shadow,
    /// Where managed memory resides.
    pub(crate) residency: Option<Box<Residency>>,
    /// A handle's, on the host.
    pub(crate) on_host: bool,
    /// Mappings and handles that keep it.
    pub(crate) holders: u32,
    /// The call that made it.
    pub(crate) made_by: &'static str,
    /// The number of that call.
    pub(crate) born: u64,
}

/// What keeps the bytes.
#[derive(Debug)]
pub(crate) enum Store {
    /// Nothing does.
    None,
    /// Pages that exist once written.
    Sparse(HashMap<u64, Box<[u8; PAGE]>>),
    /// The host's own memory.
    Host(HostBuffer),
}

const PAGE: usize = 4096;
const PAGE_BYTES: u64 = PAGE as u64;

/// What never-written device memory reads as. Programs may not rely on it: on hardware it is
/// whatever was there.
pub(crate) const UNWRITTEN: u8 = 0xa5;

impl Store {
    pub(crate) fn read(&self, offset: u64, bytes: &mut [u8]) {
        match self {
            Self::None => bytes.fill(UNWRITTEN),
            Self::Host(buffer) => buffer.read(offset, bytes),
            Self::Sparse(pages) => {
                for_pages(offset, bytes.len(), |page, within, range| {
                    let part = &mut bytes[range];
                    match pages.get(&page) {
                        Some(page) => part.copy_from_slice(&page[within..within + part.len()]),
                        None => part.fill(UNWRITTEN),
                    }
                });
            }
        }
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        match self {
            Self::None => {}
            Self::Host(buffer) => buffer.write(offset, bytes),
            Self::Sparse(pages) => {
                for_pages(offset, bytes.len(), |page, within, range| {
                    let part = &bytes[range];
                    pages.entry(page).or_insert_with(|| Box::new([UNWRITTEN; PAGE]))
                        [within..within + part.len()]
                        .copy_from_slice(part);
                });
            }
        }
    }
}

/// Calls `visit` with each page of a range: its number, where in it the range starts, and which
/// part of the range lies in it.
fn for_pages(offset: u64, len: usize, mut visit: impl FnMut(u64, usize, std::ops::Range<usize>)) {
    let mut done = 0;
    while done < len {
        let at = offset + done as u64;
        let within = usize::try_from(at % PAGE_BYTES).expect("a page is small");
        let part = (PAGE - within).min(len - done);
        visit(at / PAGE_BYTES, within, done..done + part);
        done += part;
    }
}

/// All physical memory, by number.
#[derive(Debug, Default)]
pub(crate) struct Physicals {
    pieces: Vec<Option<Physical>>,
    vacant: Vec<PhysicalId>,
}

impl Physicals {
    pub(crate) fn insert(&mut self, physical: Physical) -> PhysicalId {
        match self.vacant.pop() {
            Some(id) => {
                self.pieces[id] = Some(physical);
                id
            }
            None => {
                self.pieces.push(Some(physical));
                self.pieces.len() - 1
            }
        }
    }

    pub(crate) fn get(&self, id: PhysicalId) -> &Physical {
        self.pieces[id].as_ref().expect("a held number is live")
    }

    pub(crate) fn get_mut(&mut self, id: PhysicalId) -> &mut Physical {
        self.pieces[id].as_mut().expect("a held number is live")
    }

    /// One holder less. If it was the last, the memory is gone; returns what is left to be done.
    pub(crate) fn drop_holder(&mut self, id: PhysicalId) -> Option<Gone> {
        let physical = self.get_mut(id);
        physical.holders -= 1;
        if physical.holders != 0 {
            return None;
        }
        let gone = Gone {
            size: physical.size,
            on_host: physical.on_host,
            residency: physical.residency.take(),
            simulated: matches!(physical.store, Store::None),
        };
        self.vacant.push(id);
        self.pieces[id] = None;
        Some(gone)
    }
}

/// What remains of physical memory that is gone.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) size: u64,
    pub(crate) on_host: bool,
    pub(crate) residency: Option<Box<Residency>>,
    /// Nothing kept its bytes, not even host memory.
    pub(crate) simulated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_bytes_are_what_was_written_across_pages() {
        let mut store = Store::Sparse(HashMap::new());
        let bytes: Vec<u8> = (0..=255).cycle().take(3 * PAGE).collect();
        store.write(PAGE_BYTES - 7, &bytes);
        let mut read = vec![0; bytes.len() + 2];
        store.read(PAGE_BYTES - 8, &mut read);
        assert_eq!(read[0], UNWRITTEN);
        assert_eq!(read[1..=bytes.len()], bytes);
        assert_eq!(read[bytes.len() + 1], UNWRITTEN);
    }
}
