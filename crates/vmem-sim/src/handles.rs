//! Driver handles: numbers that name objects, and recur once the objects are destroyed.

use vmem_core::DriverCode;

use crate::violation::{Refusal, ViolationKind};

/// Objects of one kind, by handle.
///
/// A destroyed object's handle goes to the next object created, most recently destroyed first:
/// drivers reuse the memory that their handles point to, so a stale handle may silently name another
/// object (CUDA Driver API, "Stream Management": a destroyed handle's use is undefined).
#[derive(Debug)]
pub(crate) struct Handles<T> {
    what: &'static str,
    /// The device's number in the upper half of every handle, the kind's in the lowest bits.
    high: u64,
    tag: u64,
    objects: Vec<Option<T>>,
    vacant: Vec<usize>,
}

const STRIDE: u64 = 0x40;

impl<T> Handles<T> {
    pub(crate) fn new(what: &'static str, serial: u32, tag: u64) -> Self {
        Self { what, high: u64::from(serial) << 32, tag, objects: Vec::new(), vacant: Vec::new() }
    }

    pub(crate) fn insert(&mut self, object: T) -> u64 {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.objects.push(None);
            self.objects.len() - 1
        });
        self.objects[index] = Some(object);
        self.high | ((index as u64 + 1) * STRIDE) | self.tag
    }

    pub(crate) fn get(&self, raw: u64) -> Result<&T, Refusal> {
        let index = self.index(raw)?;
        let object = self.objects.get(index).and_then(Option::as_ref);
        object.ok_or_else(|| self.dead(raw))
    }

    pub(crate) fn get_mut(&mut self, raw: u64) -> Result<&mut T, Refusal> {
        let index = self.index(raw)?;
        if self.objects.get(index).is_none_or(Option::is_none) {
            return Err(self.dead(raw));
        }
        Ok(self.objects[index].as_mut().expect("it was just seen"))
    }

    pub(crate) fn remove(&mut self, raw: u64) -> Result<T, Refusal> {
        let index = self.index(raw)?;
        let object = self.objects.get_mut(index).and_then(Option::take);
        match object {
            Some(object) => {
                self.vacant.push(index);
                Ok(object)
            }
            None => Err(self.dead(raw)),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.objects.iter().flatten()
    }

    /// Whether a handle is one of another device.
    pub(crate) fn is_foreign(&self, raw: u64) -> bool {
        let serial = raw >> 32;
        serial != 0 && serial != self.high >> 32
    }

    fn index(&self, raw: u64) -> Result<usize, Refusal> {
        if self.is_foreign(raw) {
            let detail = format!("{} {raw:#x} is of another device", self.what);
            let code = DriverCode::INVALID_CONTEXT;
            return Err(Refusal::misuse(ViolationKind::WrongContext, code, detail));
        }
        let slot = raw & 0xffff_ffff;
        let index = (slot / STRIDE).checked_sub(1);
        index
            .filter(|_| raw & !0xffff_ffff == self.high && slot % STRIDE == self.tag)
            .and_then(|index| usize::try_from(index).ok())
            .ok_or_else(|| self.dead(raw))
    }

    fn dead(&self, raw: u64) -> Refusal {
        let detail = format!("{} {raw:#x} was destroyed, or never was one", self.what);
        Refusal::misuse(ViolationKind::BadHandle, DriverCode::INVALID_HANDLE, detail)
    }
}
