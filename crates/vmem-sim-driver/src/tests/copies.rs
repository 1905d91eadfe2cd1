//! Copies from and to pageable memory.

use super::*;

/// What a host reads back whose memory changes as soon as its call has returned.
fn read_back(settings: &str) -> [u8; 64] {
    let _turn = driver(settings);
    enter(0);
    let (mut address, mut stream) = (0, 0);
    assert_eq!(c!(cuMemAlloc_v2(&raw mut address, 64)), 0);
    assert_eq!(c!(cuStreamCreate(&raw mut stream, 1)), 0);
    let (mut from, mut to) = ([7_u8; 64], [0_u8; 64]);
    assert_eq!(c!(cuMemcpyHtoDAsync_v2(address, (&raw const from).cast(), 64, stream)), 0);
    from.fill(1);
    assert_eq!(c!(cuMemcpyDtoHAsync_v2((&raw mut to).cast(), address, 64, stream)), 0);
    let read = to;
    assert_eq!(c!(cuStreamSynchronize(stream)), 0);
    assert_eq!(c!(cuStreamDestroy_v2(stream)), 0);
    assert_eq!(c!(cuMemFree_v2(address)), 0);
    assert_eq!(control("violations").unwrap(), "");
    assert_eq!(from, [1; 64]);
    read
}

#[test]
fn pageable_memory_is_done_with_when_a_copys_call_returns_unless_the_driver_is_strict() {
    assert_eq!(read_back("STRICTNESS=-PAGEABLE_COPIES"), [7; 64]);
    assert_eq!(read_back(""), [0; 64]);
}
