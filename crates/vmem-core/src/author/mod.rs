//! What authors of resources and devices build with. A program that only uses them needs none of
//! it.
//!
//! Whoever writes a resource that issues blocks of its own keeps them in a [`BlockTable`], or, if
//! each comes from the driver, in a [`Leaf`]. Whoever writes one that reuses memory follows the
//! streams that it was freed on by [`StreamExt`] and is told of their ends as a [`StreamObserver`].
//! A wrapper whose upstream issues the blocks needs neither. What a resource lets programs reach
//! after its type was erased it owns as [`Handled`], and gives them a [`Handle`] of. Whoever writes a
//! [`Device`](crate::Device) embeds a [`DeviceBase`]. Whatever shows memory to the host asks
//! [`host_view`] where.
//!
//! All of them keep the [`contract`](crate::contract), and refuse to work in a forked child:
//! [`fork`].

mod block_table;
pub mod fork;
mod handle;

pub use block_table::BlockTable;
pub use handle::{Handle, Handled};

pub use crate::device::{DeviceBase, DropFailure, DropFailures, HostAccess, host_view};
pub use crate::event::IdleEvent;
pub use crate::leaf::{Leaf, LeafFree};
pub use crate::stream::{StreamExt, StreamObserver, WeakStream};
