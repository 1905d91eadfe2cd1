//! The C functions, by family.

mod absent;
mod context;
mod copy;
mod device;
mod event;
mod graph;
mod managed;
mod memory;
mod pool;
mod stream;
mod text;
mod version;
mod virtual_memory;

use std::ffi::c_void;

/// One C function of this library.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Export {
    /// Its name as a symbol.
    pub(crate) name: &'static str,
    /// Where it is.
    pub(crate) address: fn() -> *mut c_void,
}

/// Every C function that NVIDIA's driver has too.
pub(crate) fn all() -> impl Iterator<Item = &'static Export> {
    [
        absent::EXPORTS,
        context::EXPORTS,
        copy::EXPORTS,
        device::EXPORTS,
        event::EXPORTS,
        graph::EXPORTS,
        managed::EXPORTS,
        memory::EXPORTS,
        pool::EXPORTS,
        stream::EXPORTS,
        text::EXPORTS,
        version::EXPORTS,
        virtual_memory::EXPORTS,
    ]
    .into_iter()
    .flatten()
}

/// The function with a symbol's name.
pub(crate) fn find(name: &str) -> Option<&'static Export> {
    all().find(|export| export.name == name)
}

/// Defines C functions and the list of them. Each body runs inside [`enter`](crate::driver::enter),
/// with the driver under the name given first.
macro_rules! exports {
    ($(
        $(#[$doc:meta])*
        fn $name:ident($driver:pat $(, $arg:ident: $type:ty)* $(,)?) $body:block
    )*) => {
        $(
            $(#[$doc])*
            #[unsafe(no_mangle)]
            #[allow(non_snake_case, reason = "CUDA's names")]
            extern "C" fn $name($($arg: $type),*) -> std::ffi::c_uint {
                $crate::driver::enter(stringify!($name), |$driver| $body)
            }
        )*

        /// The functions of this file.
        pub(super) const EXPORTS: &[$crate::api::Export] = &[$($crate::api::Export {
            name: stringify!($name),
            address: || $name as *mut std::ffi::c_void,
        },)*];
    };
}
use exports;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What is there for tests of captures, for `cust` and `cudarc`, and for programs that set
    /// contexts themselves.
    const BESIDES: &[&[Export]] = &[absent::EXPORTS, graph::EXPORTS];
    const BESIDES_BY_NAME: &[&str] = &[
        "cuCtxGetDevice",
        "cuCtxGetStreamPriorityRange",
        "cuCtxSetCurrent",
        "cuDeviceGetUuid",
        "cuDeviceGetUuid_v2",
        "cuDevicePrimaryCtxGetState",
        "cuEventElapsedTime_v2",
        "cuMemAllocAsync",
        "cuMemAllocHost_v2",
        "cuStreamCreateWithPriority",
    ];

    /// The names in `file` of vmem-cuda's declarations that follow `before` and end at `after`.
    fn declared(file: &str, before: &str, after: char) -> BTreeSet<String> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../vmem-cuda/src/sys/");
        let text = std::fs::read_to_string(format!("{path}{file}")).unwrap();
        let starts = text.lines().filter_map(|line| line.split_once(before));
        let names = starts.filter_map(|(_, rest)| rest.split_once(after));
        let names = names.map(|(name, _)| name.to_owned());
        names.filter(|name| ["cu", "vmem"].iter().any(|start| name.starts_with(start))).collect()
    }

    /// The names in vmem-cuda's list of what it looks up.
    fn looked_up() -> Vec<String> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../vmem-cuda/src/sys/newer.rs");
        let text = std::fs::read_to_string(path).unwrap();
        let list = text.split_once("LOOKED_UP_SYMBOLS").unwrap().1.split_once(';').unwrap().0;
        list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// Tests that do not find it are skipped, so nobody else would notice.
    #[test]
    fn the_control_function_has_the_name_under_which_it_is_looked_up() {
        let expected = declared("mod.rs", "CONTROL_SYMBOL: &str = \"", '"');
        assert_eq!(expected.into_iter().collect::<Vec<_>>(), [crate::control::NAME]);
    }

    #[test]
    fn the_functions_are_those_that_the_cuda_crate_declares_and_the_ones_named_here() {
        let mut expected = declared("functions.rs", "fn ", '(');
        assert!(expected.len() > 50, "the declarations are not where they were: {expected:?}");
        // Looked up at run time, by a name without the version that may follow it.
        let newer = looked_up();
        assert!(!newer.is_empty(), "the newer functions are not where they were");
        expected.extend(newer.into_iter().map(|name| {
            let versioned = format!("{name}_v2");
            if find(&versioned).is_some() { versioned } else { name }
        }));
        let besides = BESIDES.iter().flat_map(|list| list.iter()).map(|export| export.name);
        expected.extend(besides.chain(BESIDES_BY_NAME.iter().copied()).map(str::to_owned));
        let exported: BTreeSet<String> = all().map(|export| export.name.to_owned()).collect();
        assert_eq!(exported, expected);
        assert_eq!(all().count(), exported.len(), "a function is listed twice");
    }
}
