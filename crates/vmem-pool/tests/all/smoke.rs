use vmem_core::*;
use vmem_pool::*;
use vmem_sim::SimDevice;

#[test]
fn smoke() {
    let device = SimDevice::new(1 << 30);
    let stream = Stream::new(device.clone()).unwrap();
    let pool = Pool::new(VirtualArena::new(device.clone()).unwrap(), PoolConfig::default()).unwrap();
    let h = pool.handle();
    let a = pool.alloc(BlockLayout::new(3_000_000).unwrap(), &stream).unwrap();
    let b = pool.alloc(BlockLayout::new(3_000_000).unwrap(), &stream).unwrap();
    h.check_invariants();
    unsafe { pool.deallocate(a, &stream) }.unwrap();
    h.check_invariants();
    let c = pool.alloc(BlockLayout::new(1_000_000).unwrap(), &stream).unwrap();
    unsafe { pool.deallocate(b, &stream) }.unwrap();
    unsafe { pool.deallocate(c, &stream) }.unwrap();
    h.check_invariants();
    println!("{:?} {:?}", h.counters(), h.capacity());
    assert_eq!(h.trim_to(0).unwrap(), 6 << 20);
    h.check_invariants();
    drop(pool);
    drop(stream);
    device.assert_clean();
    assert!(device.leaks().is_empty(), "{:?}", device.leaks());
}
