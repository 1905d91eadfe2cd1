//! Finding and opening devices.

use std::sync::Arc;

use vmem_core::Device;
use vmem_cuda::testing::REQUIRED_SYMBOLS;
use vmem_cuda::{CudaDevice, OLDEST_DRIVER, OpenError, device_count, driver};

use crate::support::{bench, calls, control, has_control, turn};

#[test]
fn the_device_says_what_it_is_and_which_driver_is_loaded() {
    let Some(bench) = bench() else { return };
    let driver = driver().unwrap();
    let facts = bench.device.facts();
    assert!(driver.version >= OLDEST_DRIVER);
    assert_eq!(facts.driver, driver.to_string());
    assert_eq!(facts.simulated, has_control());
    assert!(facts.driver.contains("libcuda"), "{}", facts.driver);
    let info = bench.device.memory_info().unwrap();
    assert!(info.free <= info.total && info.total <= facts.total_memory, "{info:?}");
    assert_eq!(bench.device.absences(), []);
    bench.finish();
}

#[test]
fn a_device_is_opened_once_and_its_context_retained_once() {
    let Some(bench) = bench() else { return };
    let again = CudaDevice::open(0).unwrap();
    assert!(Arc::ptr_eq(&bench.device, &again));
    if has_control() {
        assert_eq!(control("contexts"), "0 1\n");
    }
    drop(again);
    bench.finish();
}

#[test]
fn a_device_opened_anew_has_a_new_identity() {
    let Some(bench) = bench() else { return };
    let first = bench.device.id();
    bench.finish();
    let Some(bench) = crate::support::bench() else { return };
    assert_ne!(bench.device.id(), first);
    bench.finish();
}

#[test]
fn nothing_is_asked_of_the_driver_before_a_device_is() {
    let Some(_turn) = turn("SEED=0") else { return };
    assert_eq!(calls(None), 0);
}

#[test]
fn no_device_is_a_count_of_zero_and_an_error_to_open() {
    let Some(_turn) = turn("DEVICES=0") else { return };
    assert_eq!(device_count().unwrap(), 0);
    let error = CudaDevice::open(0).unwrap_err();
    assert_eq!(error, OpenError::NoDevice);
    assert_eq!(error.to_string(), "the driver sees no CUDA device");
}

#[test]
fn a_number_above_the_last_is_refused_with_what_is_accepted() {
    let Some(turn) = turn("") else { return };
    let devices = device_count().unwrap();
    let error = CudaDevice::open(devices).unwrap_err();
    assert_eq!(error, OpenError::NoSuchDevice { ordinal: devices, devices });
    assert!(error.to_string().contains("accepted: 0 to"), "{error}");
    assert_eq!(
        CudaDevice::open(u32::MAX).unwrap_err(),
        OpenError::NoSuchDevice { ordinal: u32::MAX, devices }
    );
    drop(turn);
}

#[test]
fn two_devices_are_two() {
    let Some(_turn) = turn("DEVICES=2") else { return };
    let (first, second) = (CudaDevice::open(0).unwrap(), CudaDevice::open(1).unwrap());
    assert_ne!(first.id(), second.id());
    assert_ne!(first.raw_context(), second.raw_context());
    assert_eq!(second.facts().ordinal, 1);
    assert_eq!(control("contexts"), "0 1\n1 1\n");
    drop((first, second));
    assert_eq!(control("contexts"), "");
}

#[test]
fn a_driver_too_old_is_refused_with_what_is_needed() {
    let Some(_turn) = turn("VERSION=11.2") else { return };
    let error = CudaDevice::open(0).unwrap_err();
    assert_eq!(error, OpenError::DriverTooOld { version: 11_020 });
    assert_eq!(error.to_string(), "the driver supports CUDA 11.2; needed: 11.4 or newer");
    assert_eq!(control("contexts"), "");
}

#[test]
fn parts_that_the_device_lacks_are_absent_and_named() {
    let Some(_turn) = turn("VIRTUAL_MEMORY=off MANAGED=off ASYNC_POOL=off") else { return };
    let device = CudaDevice::open(0).unwrap();
    assert!(device.virtual_memory().is_none());
    assert!(device.managed().is_none());
    assert!(device.async_pool().is_none());
    let absent: Vec<_> = device.absences().iter().map(|absence| absence.part).collect();
    assert_eq!(absent, ["virtual memory", "managed memory", "stream-ordered pool"]);
}

#[test]
fn virtual_memory_that_fails_when_tried_is_absent_and_leaves_nothing() {
    for step in ["cuMemAddressReserve", "cuMemCreate", "cuMemMap", "cuMemSetAccess"] {
        let Some(_turn) = turn(&format!("FAIL=1,801,{step}")) else { return };
        let device = CudaDevice::open(0).unwrap();
        assert_eq!(control("fired"), step);
        assert!(device.virtual_memory().is_none());
        let why = device.absences()[0].to_string();
        assert!(why.starts_with(&format!("no virtual memory: {step} answered 801")), "{why}");
        drop(device);
        assert_eq!(control("leaks"), "", "{step}");
    }
}

#[test]
fn whichever_call_of_opening_fails_it_is_an_error_or_an_absence_and_nothing_is_kept() {
    let mut n = 0;
    loop {
        n += 1;
        let Some(_turn) = turn(&format!("FAIL={n},9999")) else { return };
        let opened = CudaDevice::open(0);
        let fired = control("fired");
        if fired.is_empty() {
            assert_eq!(opened.unwrap().absences(), []);
            break;
        }
        match opened {
            Ok(device) => {
                let failed = device.base().drop_failures().count();
                let reported = !device.absences().is_empty() || failed != 0;
                assert!(reported || fired == "cuGetProcAddress", "{n}: {fired} is not reported");
                drop(device);
            }
            Err(OpenError::Driver(error)) => assert_eq!(error.code().0, 9999, "{error}"),
            Err(error) => panic!("{fired} failed: {error}"),
        }
        let gives_back = ["cuMemAddressFree", "cuMemRelease", "cuMemUnmap", "cuMemPoolDestroy"];
        let undone = control("leaks").is_empty() || gives_back.contains(&&*fired);
        assert!(undone, "{n}: {fired}: {}", control("leaks"));
        assert_eq!(control("contexts"), "", "{n}: {fired}");
    }
    assert!(n > 20, "only {} calls were made to open a device", n - 1);
}

#[test]
fn the_software_driver_has_every_required_function() {
    let Some(_turn) = turn("SEED=0") else { return };
    let functions = control("functions");
    let missing: Vec<_> = REQUIRED_SYMBOLS
        .iter()
        .filter(|name| !functions.lines().any(|function| function == **name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
