//! What the driver answers becomes an error, whatever it is.

use vmem_core::{
    AllocErrorKind, Device, DeviceMemory, DriverCode, MemoryResource, ResourceExt, Stream,
};
use vmem_cuda::error_text;
use vmem_pool::{Pool, PoolConfig, VirtualArena};

use crate::support::{MIB, alloc, bench, calls, control, free, layout, wants_control};

#[test]
fn an_unknown_code_is_an_error_and_not_exhaustion() {
    if !wants_control() {
        return;
    }
    let Some(bench) = bench() else { return };
    let stream = bench.stream();
    let memory = DeviceMemory::new(bench.device());
    for code in [9999, 12345, u32::from(u16::MAX), 2_147_483_647] {
        control(&format!("fail 1 {code} cuMemAlloc_v2"));
        let error = bench.device.allocate(MIB).unwrap_err();
        assert_eq!((error.code(), error.call()), (DriverCode(code), "cuMemAlloc"));
        assert!(error.to_string().contains(&code.to_string()), "{error}");

        control(&format!("fail 1 {code} cuMemAlloc_v2"));
        let error = memory.allocate_on(layout(MIB), &stream).unwrap_err();
        assert_eq!(error.kind(), AllocErrorKind::DeviceFault, "{error}");
    }
    drop((stream, memory));
    bench.finish();
}

#[test]
fn only_the_code_for_out_of_memory_is_exhaustion() {
    if !wants_control() {
        return;
    }
    let Some(bench) = bench() else { return };
    let stream = bench.stream();
    let memory = DeviceMemory::new(bench.device());
    for (code, kind) in [
        (2, AllocErrorKind::OutOfMemory),
        (1, AllocErrorKind::DeviceFault),
        (3, AllocErrorKind::DeviceFault),
        (719, AllocErrorKind::DeviceFault),
        (999, AllocErrorKind::DeviceFault),
    ] {
        control(&format!("fail 1 {code} cuMemAlloc_v2"));
        assert_eq!(memory.allocate_on(layout(MIB), &stream).unwrap_err().kind(), kind, "{code}");
    }
    drop((stream, memory));
    bench.finish();
}

#[test]
fn a_real_lack_of_memory_is_exhaustion() {
    let Some(bench) = bench() else { return };
    let more = bench.device.facts().total_memory + MIB;
    let error = bench.device.allocate(more).unwrap_err();
    assert!(error.is_out_of_memory(), "{error}");
    bench.finish();
}

#[test]
fn the_driver_says_in_words_what_a_code_means() {
    let Some(bench) = bench() else { return };
    let text = error_text(DriverCode::OUT_OF_MEMORY).unwrap();
    assert!(text.starts_with("CUDA_ERROR_OUT_OF_MEMORY: "), "{text}");
    assert_eq!(error_text(DriverCode(12345)), None);
    bench.finish();
}

#[test]
fn a_lost_device_is_an_error_everywhere_and_opens_again() {
    if !wants_control() {
        return;
    }
    let Some(bench) = bench() else { return };
    let stream = bench.stream();
    let pool =
        Pool::new(VirtualArena::new(bench.device()).unwrap(), PoolConfig::default()).unwrap();
    let block = alloc(&pool, MIB, &stream);
    control("lose 0");
    let error = pool.allocate_on(layout(64 * MIB), &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::DeviceFault, "{error}");
    assert_eq!(bench.device.synchronize().unwrap_err().code(), DriverCode::LAUNCH_FAILED);
    assert_eq!(bench.device.memory_info().unwrap_err().code(), DriverCode::LAUNCH_FAILED);
    assert!(Stream::new(bench.device()).is_err());
    // SAFETY: contract, freeing: no work was queued on the block.
    unsafe { pool.deallocate(block, &stream) }.unwrap();
    drop((pool, stream));
    assert_ne!(bench.device.base().drop_failures().count(), 0, "what was lost is reported");
    drop(bench);
    crate::support::bench().unwrap().finish();
}

#[test]
fn out_of_memory_in_the_middle_of_mapping_undoes_exactly_that() {
    if !wants_control() {
        return;
    }
    for step in ["cuMemCreate", "cuMemMap", "cuMemSetAccess"] {
        let Some(bench) = bench() else { return };
        let stream = bench.stream();
        let pool =
            Pool::new(VirtualArena::new(bench.device()).unwrap(), PoolConfig::default()).unwrap();
        let first = alloc(&pool, 4 * MIB, &stream);
        let before = pool.handle().counters().unwrap().reserved;
        // Growth may try twice: with its policy's size, then with what the request needs.
        for nth in 1..=8 {
            control(&format!("fail {nth} 2 {step}"));
        }
        let error = pool.allocate_on(layout(32 * MIB), &stream).unwrap_err();
        assert_eq!(error.kind(), AllocErrorKind::OutOfMemory, "{step}: {error}");
        assert_eq!(control("fired"), step);
        control("clear");
        assert_eq!(pool.handle().counters().unwrap().reserved, before, "{step}");
        // A growth that failed is not tried again at once, unless something was freed since.
        free(&pool, first, &stream);
        let second = alloc(&pool, 32 * MIB, &stream);
        free(&pool, second, &stream);
        drop((pool, stream));
        bench.finish();
    }
}

#[test]
fn a_driver_that_has_shut_down_is_not_called_again() {
    if !wants_control() {
        return;
    }
    let Some(bench) = bench() else { return };
    let stream = bench.stream();
    control("fail 1 4 cuMemGetInfo_v2");
    assert_eq!(bench.device.memory_info().unwrap_err().code(), DriverCode::DEINITIALIZED);
    let before = calls(None);
    assert_eq!(bench.device.memory_info().unwrap_err().code(), DriverCode::DEINITIALIZED);
    drop(stream);
    assert_eq!(bench.device.base().drop_failures().count(), 1, "the stream was not destroyed");
    let turn = bench.into_turn();
    assert_eq!(calls(None), before);
    drop(turn);
}
