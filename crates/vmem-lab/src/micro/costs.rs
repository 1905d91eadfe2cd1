//! The measured times as costs of a simulated device.

use vmem_core::DeviceFacts;
use vmem_sim::{CostTable, MeasuredCosts};

use super::report::{Beside, MicroRow};
use super::{copies, mappings, memory, on_host, streams};

/// One cost, as far as it could be measured.
type Cost = Option<u64>;

/// The table, under a name. What was not measured keeps its default, and is listed.
pub(super) fn table(
    rows: &[MicroRow],
    facts: &DeviceFacts,
    name: String,
    date: String,
) -> MeasuredCosts {
    let rows = Rows(rows);
    let mut table = MeasuredCosts {
        name,
        date,
        device: facts.name.clone(),
        driver: facts.driver.clone(),
        estimated: Vec::new(),
        costs: CostTable::default(),
    };
    macro_rules! fill {
        ($($field:ident: $cost:expr;)*) => {$(
            match $cost {
                Some(cost) => table.costs.$field = cost,
                None => table.estimated.push(stringify!($field).to_owned()),
            }
        )*};
    }
    let of = |operation| rows.at(operation, None);
    let at_2m = |operation| rows.at(operation, Some(2 << 20));
    let (create, create_granule) = rows.line("create", (2 << 20, 1), (128 << 20, 64));
    let (pinned, pinned_mebibyte) = rows.line("allocate pinned", (2 << 20, 2), (64 << 20, 64));
    let (access, access_handle) = rows.row("set access", "set access to a row");
    let (unmap, unmap_handle) = rows.row("unmap", "unmap a row");
    let on_host = |operation: &str| {
        let [small, large] = [on_host::SMALL, on_host::LARGE].map(|bytes| (bytes, bytes >> 20));
        rows.line(operation, small, large)
    };
    let (host_create, host_create_mebibyte) = on_host("create on the host");
    let (host_access, host_access_mebibyte) = on_host("set access on the host");
    let (host_unmap, host_unmap_mebibyte) = on_host("unmap on the host");
    let (_, host_release_mebibyte) = on_host("release on the host");
    let beyond = |host: Cost, any: Cost| host.zip(any).map(|(host, any)| host.saturating_sub(any));
    let hit = at_2m("allocate async");
    fill! {
        memory_info_ns: of("memory info");
        allocate_ns: at_2m("allocate plain");
        free_ns: at_2m("free plain");
        create_stream_ns: of("create stream");
        destroy_stream_ns: of("destroy stream");
        query_ns: of("query stream");
        synchronize_ns: of("wait for an idle stream");
        create_event_ns: of("create event");
        destroy_event_ns: of("destroy event");
        record_event_ns: of("record event");
        wait_event_ns: of("wait for an event on the device");
        launch_ns: of("queue a fill");
        reserve_ns: at_2m("reserve");
        free_range_ns: at_2m("free range");
        create_ns: create;
        create_granule_ns: create_granule;
        release_ns: at_2m("release");
        map_ns: at_2m("map");
        set_access_ns: access;
        set_access_handle_ns: access_handle;
        unmap_ns: unmap;
        unmap_handle_ns: unmap_handle;
        host_create_ns: host_create;
        host_create_mebibyte_ns: host_create_mebibyte;
        host_map_ns: beyond(at_2m("map on the host"), at_2m("map"));
        host_set_access_handle_ns: beyond(host_access, access);
        host_set_access_mebibyte_ns: host_access_mebibyte;
        host_unmap_handle_ns: beyond(host_unmap, unmap);
        host_unmap_mebibyte_ns: host_unmap_mebibyte;
        host_release_mebibyte_ns: host_release_mebibyte;
        // Those of kernels, of which there are none here.
        host_bytes_per_us: None;
        random_bytes_per_us: None;
        host_random_bytes_per_us: None;
        managed_allocate_ns: at_2m("allocate managed");
        advise_ns: rows.any("advise");
        pinned_allocate_ns: pinned;
        pinned_mebibyte_ns: pinned_mebibyte;
        pinned_free_ns: at_2m("free pinned");
        async_allocate_ns: hit;
        async_growth_ns: at_2m("grow async").zip(hit).map(|(grow, hit)| grow.saturating_sub(hit));
        async_free_ns: at_2m("free async");
        async_trim_ns: at_2m("trim async");
        work_ns: rows.difference("run small work behind it", "run large work", streams::PIECES);
        link_bytes_per_us: rows.rate("copy from pinned memory", 1);
        memory_bytes_per_us: rows.rate("copy on the device", 2);
        device_fault_ns: rows.fault("fill managed on the host", "fill managed on the device");
        host_fault_ns: rows.fault("read managed on the device", "read managed on the host");
    }
    table
}

struct Rows<'a>(&'a [MicroRow]);

impl Rows<'_> {
    /// The row of an operation that nothing went on beside.
    fn find(&self, operation: &str, wanted: impl Fn(&MicroRow) -> bool) -> Option<&MicroRow> {
        self.0
            .iter()
            .find(|row| row.operation == operation && row.beside == Beside::Nothing && wanted(row))
    }

    /// The median of an operation that was measured on one size only, or the first of several.
    fn any(&self, operation: &str) -> Cost {
        self.find(operation, |_| true).map(|row| row.median_ns)
    }

    fn at(&self, operation: &str, bytes: Option<u64>) -> Cost {
        self.find(operation, |row| row.bytes == bytes).map(|row| row.median_ns)
    }

    /// What an operation costs at once and for each unit, from two sizes with their units.
    fn line(&self, operation: &str, small: (u64, u64), large: (u64, u64)) -> (Cost, Cost) {
        let times = self.at(operation, Some(small.0)).zip(self.at(operation, Some(large.0)));
        let Some((short, long)) = times else {
            return (None, None);
        };
        let each = long.saturating_sub(short) / (large.1 - small.1);
        (Some(short.saturating_sub(each * small.1)), Some(each))
    }

    /// The same of one handle and of a row of them.
    fn row(&self, single: &str, row: &str) -> (Cost, Cost) {
        let Some((one, all)) = self.any(single).zip(self.any(row)) else {
            return (None, None);
        };
        let each = all.saturating_sub(one) / (mappings::ROW - 1);
        (Some(one.saturating_sub(each)), Some(each))
    }

    fn difference(&self, more: &str, less: &str, parts: u64) -> Cost {
        let (more, less) = self.at(more, None).zip(self.at(less, None))?;
        Some(more.saturating_sub(less) / parts)
    }

    /// Bytes in a microsecond, each moved `times` times, from the two largest copies.
    fn rate(&self, operation: &str, times: u64) -> Cost {
        let [.., small, large] = copies::SIZES;
        let taken =
            self.at(operation, Some(large))?.checked_sub(self.at(operation, Some(small))?)?;
        (large - small).checked_mul(times * 1000)?.checked_div(taken)
    }

    /// A fault, without the transfer that follows it.
    fn fault(&self, faulting: &str, resident: &str) -> Cost {
        let bytes = Some(memory::MOVED);
        let extra = self.at(faulting, bytes)?.checked_sub(self.at(resident, bytes)?)?;
        let link = self.rate("copy from pinned memory", 1)?;
        let transfer = (memory::PAGE_GROUP * 1000).checked_div(link)?;
        Some((extra / (memory::MOVED / memory::PAGE_GROUP)).saturating_sub(transfer))
    }
}
