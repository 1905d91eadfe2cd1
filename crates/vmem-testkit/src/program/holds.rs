//! Memory set aside by a program, and what was drawn from it.

use vmem_core::ReservationId;

use crate::SetAside;

/// The reservations of a program, in no order.
#[derive(Debug, Default)]
pub(super) struct Holds {
    all: Vec<Hold>,
}

#[derive(Debug)]
struct Hold {
    id: ReservationId,
    size: u64,
    /// The handle, until the program drops it.
    handle: Option<Box<dyn SetAside>>,
    /// Live blocks drawn from it.
    draws: u64,
}

impl Holds {
    /// Takes up a new reservation.
    pub(super) fn admit(&mut self, handle: Box<dyn SetAside>) {
        let (id, size) = (handle.id(), handle.size());
        self.all.push(Hold { id, size, handle: Some(handle), draws: 0 });
    }

    /// Some reservation that can be named, if there is any.
    pub(super) fn pick(&self, any: usize) -> Option<&dyn SetAside> {
        let open: Vec<_> = self.all.iter().filter_map(|hold| hold.handle.as_deref()).collect();
        any.checked_rem(open.len()).map(|place| open[place])
    }

    /// Drops some reservation that can be named. Its memory stays while a block is drawn from it.
    pub(super) fn drop_one(&mut self, any: usize) {
        let open: Vec<_> = (0..self.all.len()).filter(|&i| self.all[i].handle.is_some()).collect();
        if let Some(place) = any.checked_rem(open.len()) {
            self.all[open[place]].handle = None;
            self.forget_spent();
        }
    }

    /// Drops every handle.
    pub(super) fn drop_all(&mut self) {
        self.all.iter_mut().for_each(|hold| hold.handle = None);
        self.forget_spent();
    }

    /// Notes that a block was drawn.
    pub(super) fn draw(&mut self, id: ReservationId) {
        if let Some(hold) = self.all.iter_mut().find(|hold| hold.id == id) {
            hold.draws += 1;
        }
    }

    /// Notes that a drawn block was freed.
    pub(super) fn give_back(&mut self, id: ReservationId) {
        if let Some(hold) = self.all.iter_mut().find(|hold| hold.id == id) {
            hold.draws -= 1;
        }
        self.forget_spent();
    }

    /// How many hold memory, and how many bytes.
    pub(super) fn held(&self) -> (u64, u64) {
        self.all.iter().fold((0, 0), |(n, bytes), hold| (n + 1, bytes + hold.size))
    }

    fn forget_spent(&mut self) {
        self.all.retain(|hold| hold.handle.is_some() || hold.draws > 0);
    }
}
