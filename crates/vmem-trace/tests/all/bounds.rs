//! What reading takes of the heap, whatever the file: of samples cut at every length, with bytes that are
//! flipped, and of files made to take as much as they can.

use vmem_trace::{ReadOptions, Sites, write_recording};

use crate::frames::{MAGIC, frame};
use crate::heap;
use crate::recordings::recorded;
use crate::support::{data, tolerantly};

/// The most that a reader takes for each byte of a file after decompression.
const PER_BYTE: usize = 64;

/// What it takes besides: buffers, and what decompressors need.
const BESIDES: usize = 2 << 20;

/// Reads a file, or is refused with words, and takes no more memory than is said. Tells whether it was read.
#[track_caller]
fn bounded(what: &str, bytes: &[u8], length: usize) -> bool {
    let before = heap::live();
    heap::start_peak();
    let read = ReadOptions::default().read(what, bytes);
    let peak = heap::peak() - before;
    assert!(peak <= BESIDES + PER_BYTE * length, "{what}: {peak} B for {length} B");
    match read {
        Ok(reading) => reading.trace.allocations() > 0,
        Err(error) => {
            assert!(!error.reason().is_empty());
            false
        }
    }
}

/// A sample of each kind of file, with its length after decompression.
fn samples() -> Vec<(&'static str, Vec<u8>, usize)> {
    let trace = tolerantly("refused", &data("refused.csv")).unwrap().trace;
    let mut recording = Vec::new();
    write_recording(&trace, &mut recording).unwrap();
    let lifetimes = b"id,lower,upper,size\n0,0,5,64\n1,-5,9,100\n2,3,4,7\n".to_vec();
    let plain = data("refused.csv").len();
    let mut samples = vec![
        ("refused.csv.gz", data("refused.csv.gz"), plain),
        ("refused.csv.zst", data("refused.csv.zst"), plain),
    ];
    for name in
        ["killed.csv", "refused.csv", "snapshot.json", "snapshot.pickle", "snapshot_2.pickle"]
    {
        samples.push((name, data(name), 0));
    }
    samples.push(("recording", recording, 0));
    samples.push(("lifetimes", lifetimes, 0));
    samples.push(("frames.json", include_bytes!("../data/frames.json").to_vec(), 0));
    samples.push(("frames.pickle", include_bytes!("../data/frames.pickle").to_vec(), 0));
    samples
}

#[test]
fn a_sample_of_each_kind_cut_anywhere_is_read_or_refused_within_bounds() {
    for (name, sample, plain) in samples() {
        let mut read = 0;
        for length in 0..=sample.len() {
            let all = plain.max(length);
            read += usize::from(bounded(name, &sample[..length], all));
        }
        assert!(read > 0, "{name} is read at least as a whole");
    }
}

#[test]
fn a_sample_with_a_byte_that_is_another_is_read_or_refused_within_bounds() {
    for (name, sample, plain) in samples() {
        // Of long samples some bytes.
        let step = sample.len().div_ceil(1_500);
        let mut bytes = sample.clone();
        for at in (0..sample.len()).step_by(step) {
            for flip in [1, 0x80, 0xff] {
                bytes[at] ^= flip;
                // A length in a compressed file may have become any.
                let all = if plain > 0 { 64 * plain } else { bytes.len() };
                bounded(name, &bytes, all);
                bytes[at] = sample[at];
            }
        }
    }
}

#[test]
fn files_that_are_made_to_take_memory_take_no_more_than_that() {
    let count = 100_000_u64;
    let rows = |head: &str, row: &dyn Fn(u64) -> String| {
        let rows: String = (1..=count).map(row).collect();
        format!("{head}{rows}").into_bytes()
    };
    let log = "action,pointer,size\n";
    let mut files = vec![
        ("blocks of a log", rows(log, &|i| format!("alloc,{i:x},1\n"))),
        (
            "earlier blocks",
            rows(&format!("{log}alloc,f0f0f0f0,1\n"), &|i| format!("free,{i:x},1\n")),
        ),
        ("failures", rows(&format!("{log}alloc,1,1\n"), &|_| "allocate failure,0,1\n".to_owned())),
        ("threads", rows("thread,action,pointer,size\n", &|i| format!("{i},alloc,{i:x},1\n"))),
        ("lifetimes", rows("id,lower,upper,size\n", &|i| format!("{i},0,1,1\n"))),
        (
            "entries",
            [
                &b"{\"device_traces\":[["[..],
                &rows("", &|i| {
                    let comma = if i == 1 { "" } else { "," };
                    format!(r#"{comma}{{"action":"alloc","addr":{i},"size":1,"stream":{i}}}"#)
                }),
                b"]]}",
            ]
            .concat(),
        ),
    ];
    let magic = &recorded(&[])[..MAGIC];
    // Blocks of a byte, each a byte after the last, in four bytes an entry; and marks, in two.
    let mut blocks = magic.to_vec();
    for first in (0..count).step_by(10_000) {
        let mut entries = vec![0, 1, 0];
        let mut address = (first + 1) << 1;
        while address >= 0x80 {
            entries.push(u8::try_from(address & 0x7f).unwrap() | 0x80);
            address >>= 7;
        }
        entries.extend([u8::try_from(address).unwrap(), 1]);
        entries.extend([1, 0, 2, 1].repeat(9_999));
        blocks.extend(frame(&entries));
    }
    let mut marks = [magic, &frame(&[0, 1, 0, 2, 1])].concat();
    marks.extend(frame(&[&[0][..], &[4, 0].repeat(10_000)].concat()).repeat(20));
    files.extend([("recorded blocks", blocks), ("recorded marks", marks)]);
    for (name, file) in files {
        assert!(bounded(name, &file, file.len()), "{name} is read");
    }
}

#[test]
fn a_file_of_sites_takes_a_few_times_its_length_and_is_refused_by_its_line() {
    let rows: String = (1..100_000).map(|i| format!("{i:x},1,{i}\n")).collect();
    let file = format!("pointer,bytes,site\n{rows}");
    let before = heap::live();
    heap::start_peak();
    let sites = Sites::read("sites", file.as_bytes()).unwrap();
    assert!(heap::peak() - before < PER_BYTE * file.len(), "{} B", heap::peak() - before);
    drop(sites);
    for length in 0..200 {
        if let Err(error) = Sites::read("sites", &file.as_bytes()[..length]) {
            assert!(error.reason().contains("it has not the columns"), "{error}");
        }
    }
    let error = Sites::read("sites", "pointer,bytes,site\n0x10,8,a\n0x20,x,b\n".as_bytes());
    assert_eq!(error.unwrap_err().line(), Some(3));
}
