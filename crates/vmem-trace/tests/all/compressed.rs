//! Compressed files, and files too long to read.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use vmem_trace::{Irregularity, Packing, ReadOptions, read_path};

use crate::heap;
use crate::support::{count, data, strictly, tolerantly};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut to = GzEncoder::new(Vec::new(), Compression::default());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

#[test]
fn gzip_and_zstd_are_read_as_what_is_in_them() {
    let plain = tolerantly("refused", &data("refused.csv")).unwrap();
    for name in ["refused.csv.gz", "refused.csv.zst"] {
        let packed = tolerantly("refused", &data(name)).unwrap();
        assert_eq!((&packed.trace, &packed.notes), (&plain.trace, &plain.notes), "{name}");
        let with = if name.ends_with("gz") { Packing::Gzip } else { Packing::Zstd };
        assert_eq!((packed.packed, plain.packed), (Some(with), None));
        let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(read_path(path).unwrap().trace, plain.trace);
    }
    let pickle = data("snapshot.pickle");
    assert_eq!(strictly("s", &gzip(&pickle)).unwrap(), strictly("s", &pickle).unwrap());
}

#[test]
fn members_and_frames_that_follow_each_other_are_read_as_one_file() {
    let first = b"Thread,Time,Action,Pointer,Size,Stream\n1,t,allocate,0x10,64,0\n";
    let second = b"1,t,allocate,0x20,32,0\n";
    let two = [gzip(first), gzip(second)].concat();
    assert_eq!(strictly("two", &two).unwrap().peak_live(), 96);
    // Two frames, a skippable one between them: the second is an appended log.
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let frame = data("refused.csv.zst");
    let two = [&frame[..], &skippable, &frame].concat();
    let reading = tolerantly("two", &two).unwrap();
    assert_eq!(count(&reading, Irregularity::NewRun), 1);
}

#[test]
fn compressed_data_that_is_cut_off_is_read_up_to_the_cut() {
    let rows: String =
        (1..40_000_u64).map(|i| format!("1,t,allocate,{:#x},{i},0\n", i << 20)).collect();
    let whole = gzip(format!("Thread,Time,Action,Pointer,Size,Stream\n{rows}").as_bytes());
    let half = &whole[..whole.len() / 2];
    let reading = tolerantly("half.gz", half).unwrap();
    assert!((10_000..30_000).contains(&reading.trace.allocations()));
    assert_eq!(count(&reading, Irregularity::CutEnd), 1);
    assert!(reading.notes[0].first.contains("compressed data is cut off"), "{}", reading.notes[0]);
    assert!(strictly("half.gz", half).unwrap_err().reason().contains("cut off"));

    let zstd = data("refused.csv.zst");
    let error = tolerantly("cut.zst", &zstd[..9]).unwrap_err();
    assert!(error.reason().contains("compressed data is cut off"), "{error}");
}

#[test]
fn compressed_data_that_is_damaged_is_said_to_be() {
    for name in ["refused.csv.gz", "refused.csv.zst"] {
        let mut bytes = data(name);
        let middle = bytes.len() / 2;
        for byte in &mut bytes[middle..middle + 8] {
            *byte ^= 0x5a;
        }
        let error = strictly(name, &bytes).unwrap_err();
        assert!(error.reason().contains("compressed data is damaged"), "{error}");
    }
}

/// The same bytes again and again.
struct Repeated {
    of: &'static [u8],
    at: usize,
}

impl Read for Repeated {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        for byte in &mut *into {
            *byte = self.of[self.at];
            self.at = (self.at + 1) % self.of.len();
        }
        Ok(into.len())
    }
}

#[test]
fn what_never_ends_is_refused_without_taking_memory() {
    let header = &b"Thread,Time,Action,Pointer,Size,Stream\n1,t,allocate,0x10,8,0\n"[..];
    let mut options = ReadOptions::default();
    options.max_bytes = 4 << 20;
    let endless: [(&str, Box<dyn Read>); 8] = [
        ("zeros", Box::new(io::repeat(0))),
        ("text", Box::new(io::repeat(b'x'))),
        ("blank lines", Box::new(io::repeat(b'\n'))),
        ("a line", Box::new(header.chain(io::repeat(b'x')))),
        ("lines", Box::new(header.chain(io::repeat(b'\n')))),
        ("a text in JSON", Box::new(b"{\"segments\":\"".chain(io::repeat(b'x')))),
        ("lists in JSON", Box::new(b"{\"segments\":".chain(io::repeat(b'[')))),
        (
            "blocks in JSON",
            Box::new(b"{\"segments\":[{\"blocks\":[".chain(Repeated { of: b"{},", at: 0 })),
        ),
    ];
    for (what, from) in endless {
        let before = heap::live();
        heap::start_peak();
        let error = options.read(what, from).unwrap_err();
        assert!(heap::peak() - before < 2 << 20, "{what} took {} B", heap::peak() - before);
        if what.contains("line") && what != "blank lines" {
            assert!(error.to_string().contains("longer than the 4194304 bytes"), "{error}");
        }
    }
}

/// What pickles that make as many values as their bytes can make take at most: 24 bytes for each
/// byte, and 1 MiB.
#[test]
fn a_pickle_takes_no_more_memory_than_its_length_allows() {
    let mut options = ReadOptions::default();
    options.max_bytes = 1 << 20;
    let most = 24 * (1 << 20) + (1 << 20) + (256 << 10);
    let patterns: [(&[u8], bool); 11] = [
        (b"}", true),
        (b"]", true),
        (b"(", true),
        (b"N", true),
        (b"\x94", true),
        (b"}0", true),
        (b"]0", true),
        (b"h\0a", false),
        (b"]]a0", true),
        (b"(]]]]]]]]e", true),
        (b"(h\0h\0h\0h\0e", false),
    ];
    for (of, too_much) in patterns {
        let pickle = b"\x80\x04]\x94".chain(Repeated { of, at: 0 });
        let before = heap::live();
        heap::start_peak();
        let error = options.read("pickle", pickle).unwrap_err();
        let shown = of.escape_ascii();
        assert!(heap::peak() - before <= most, "{shown} took {} B", heap::peak() - before);
        let refused = error.reason().contains("its values take more than 24 times what was read");
        assert_eq!(refused, too_much, "{shown}: {error}");
    }
}

#[test]
fn a_small_file_that_unpacks_to_a_huge_one_takes_no_memory() {
    let mut to = GzEncoder::new(Vec::new(), Compression::fast());
    to.write_all(b"Thread,Time,Action,Pointer,Size,Stream\n1,t,allocate,0x10,8,0\n").unwrap();
    io::copy(&mut io::repeat(b'x').take(64 << 20), &mut to).unwrap();
    let bomb = to.finish().unwrap();
    let before = heap::live();
    heap::start_peak();
    let reading = tolerantly("bomb", &bomb).unwrap();
    assert!(heap::peak() - before < 2 << 20);
    assert_eq!(reading.trace.allocations(), 1);
}
