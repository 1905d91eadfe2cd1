//! Arenas that are charged for what they hold.

use vmem_adaptors::Budget;
use vmem_core::{AllocErrorKind, DriverCode, ResourceExt, Stream};
use vmem_pool::{Pool, PoolConfig, VirtualArena};
use vmem_sim::{CallKind, SimDevice};

const MIB: u64 = 1 << 20;

#[test]
fn arenas_under_one_budget_hold_no_more_than_it_together_in_use_or_not() {
    let device = SimDevice::new(1 << 30);
    let stream = Stream::new(device.clone()).unwrap();
    let budget = Budget::new(100 * MIB);
    let [one, other] = [(); 2].map(|()| {
        let arena = VirtualArena::new(device.clone()).unwrap().charged_to(budget.account());
        Pool::new(arena, PoolConfig::default()).unwrap()
    });
    drop(one.buffer(90 * MIB, &stream).unwrap());
    assert_eq!((budget.used(), device.used()), (90 * MIB, 90 * MIB), "idle, but held");
    let error =
        other.allocate_on(vmem_core::BlockLayout::new(90 * MIB).unwrap(), &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::OutOfMemory);
    assert!(device.used() <= 100 * MIB);
    drop(other.buffer(10 * MIB, &stream).unwrap());
    assert_eq!(budget.available(), 0);

    // What the device has back is the others'.
    one.handle().trim_to(0).unwrap();
    assert_eq!((budget.used(), device.used()), (10 * MIB, 10 * MIB));
    drop(other.buffer(90 * MIB, &stream).unwrap());
    drop((other, one));
    assert_eq!((budget.used(), device.used()), (0, 0));
}

#[test]
fn a_granule_that_could_not_be_had_or_given_back_is_charged_as_it_is_held() {
    for kind in [CallKind::Create, CallKind::Map, CallKind::SetAccess] {
        let device = SimDevice::new(1 << 30);
        let stream = Stream::new(device.clone()).unwrap();
        let budget = Budget::new(100 * MIB);
        let arena = VirtualArena::new(device.clone()).unwrap().charged_to(budget.account());
        let pool = Pool::new(arena, PoolConfig::default()).unwrap();
        device.fail_call(Some(kind), 2, DriverCode::UNKNOWN);
        device.fail_call(Some(CallKind::Release), 1, DriverCode::UNKNOWN);
        let _ = pool.buffer(20 * MIB, &stream);
        assert_eq!(budget.used(), device.used(), "{kind:?}");
        device.clear_failures();
        drop(pool.buffer(100 * MIB, &stream).unwrap());
        pool.handle().trim_to(0).unwrap();
        assert_eq!((budget.used(), device.used()), (0, 0), "{kind:?}");
    }
}
