//! Files that nobody's program wrote.

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use vmem_core::{
    BlockLayout, DevicePtr, Label, MemoryEvent, MemoryEventKind, MemoryObserver, ResourceId,
};
use vmem_trace::{Event, ReadOptions, Recorder, Strictness, read};

use crate::frames::{MAGIC, frame};
use crate::heap;
use crate::recordings::{Shared, recorded};
use crate::support::{data, strictly, tolerantly};

struct Rng(SplitMix64);

impl Rng {
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.next_u64() % bound.max(1) as u64).unwrap()
    }

    /// The bytes with one to four things done to them.
    fn mutated(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let end = (at + self.below(64)).min(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let piece = bytes[at..end].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, piece);
                }
                3 => bytes.insert(at, u8::try_from(self.below(256)).unwrap()),
                4 if !bytes.is_empty() => bytes[at] = u8::try_from(self.below(256)).unwrap(),
                _ if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                _ => {}
            }
        }
        bytes
    }
}

/// A recording of a few frames, put in by hand: one that is recorded has other times each time.
fn a_recording() -> Vec<u8> {
    let mut recording = recorded(&[])[..MAGIC].to_vec();
    for first in (1..20).step_by(4) {
        let mut entries = vec![first];
        if first == 1 {
            entries.extend(b"\0\x0dhostile/label");
        }
        for i in first..first + 4 {
            let previous = if i == first { 0 } else { i - 1 };
            // A block of i bytes at i, under the label, a few nanoseconds after the one before.
            let label: &[u8] = if i == first { &[1 | 1 << 3, i, 1] } else { &[1, i] };
            entries.extend_from_slice(label);
            entries.extend([2 * (i - previous), i]);
            if i % 3 == 0 {
                entries.extend([2, 1, 0, i]);
            }
        }
        recording.extend(frame(&entries));
    }
    recording.extend(frame(&[99, 6, 0]));
    assert_eq!(strictly("by hand", &recording).unwrap().allocations(), 20);
    recording
}

#[test]
fn no_mutation_of_a_file_makes_a_reader_panic_or_read_what_cannot_be() {
    let mut files: Vec<Vec<u8>> =
        ["killed.csv", "refused.csv", "refused.csv.gz", "refused.csv.zst"]
            .into_iter()
            .chain(["snapshot.json", "snapshot.pickle", "snapshot_2.pickle"])
            .map(data)
            .collect();
    files.push(a_recording());
    files.push(b"id,lower,upper,size\n0,0,5,64\n1,-5,9,100\n2,3,4,7\n".to_vec());
    let mut strict = ReadOptions::default();
    strict.strictness = Strictness::Strict;
    let mut read_anyway = 0;
    for (number, file) in files.iter().enumerate() {
        let mut rng = Rng(SplitMix64::seed_from_u64(number as u64));
        for _ in 0..600 {
            let bytes = rng.mutated(file);
            let tolerant = read("mutated", &bytes);
            let strict = strict.read("mutated", &bytes[..]);
            if let Ok(reading) = &tolerant {
                read_anyway += 1;
                // Its own figures are those of its events.
                assert_eq!(
                    reading.trace.repeated(1).unwrap().peak_live(),
                    reading.trace.peak_live()
                );
            }
            // What is read strictly is read tolerantly, to the same end.
            if let Ok(strict) = strict {
                assert_eq!(strict, tolerant.unwrap());
            }
        }
    }
    assert!(read_anyway > 2_000, "{read_anyway} of {} were read", 600 * files.len());
}

/// Behind a wrong checksum nothing is looked at: what is behind a right one is mutated here.
#[test]
fn no_entries_of_a_recording_make_the_reader_panic() {
    let recording = a_recording();
    let (magic, frames) = recording.split_at(MAGIC);
    let length = usize::try_from(u32::from_le_bytes(*frames.first_chunk().unwrap())).unwrap();
    let entries = &frames[8..8 + length];
    let mut rng = Rng(SplitMix64::seed_from_u64(9));
    let mut read_anyway = 0;
    for _ in 0..3_000 {
        let bytes = [magic, &frame(&rng.mutated(entries))].concat();
        if let Ok(reading) = read("mutated", &bytes) {
            read_anyway += 1;
            assert_eq!(reading.trace.repeated(1).unwrap().peak_live(), reading.trace.peak_live());
        }
    }
    assert!(read_anyway > 500, "{read_anyway}");
}

/// Time that grows with the square of the length would be hours here.
#[test]
fn a_recording_whose_frees_all_come_late_is_read_in_linear_time() {
    let written = Shared::default();
    let recorder = Recorder::new(written.clone()).unwrap();
    let at = DevicePtr::new(256).unwrap();
    let id = ResourceId::new();
    let told = |free: bool, size: u64| {
        let layout = BlockLayout::new(size).unwrap();
        let kind = match free {
            false => MemoryEventKind::Allocate { ptr: at, layout },
            true => MemoryEventKind::Free { ptr: at, layout },
        };
        recorder.event(&MemoryEvent::new(kind, id));
    };
    let count = 500_000;
    (1..=count).for_each(|size| told(false, size));
    (1..=count).rev().for_each(|size| told(true, size));
    drop(recorder);
    let trace = strictly("late", &written.bytes()).unwrap();
    assert_eq!((trace.allocations(), trace.peak_live()), (count, count));
    assert_eq!(trace.events().len() as u64, 2 * count);
}

#[test]
fn labels_are_interned_only_if_they_are_in_the_trace() {
    let known = |name: &str| (0..).map_while(Label::from_index).any(|label| label.as_str() == name);
    // The labels are put in by hand: to record them would be to intern them.
    let entries = |entries: &[&[u8]]| {
        let label =
            |name: &str| [&[0, u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
        let unused = label("hostile/defined and never used");
        let used = label(str::from_utf8(entries[0]).unwrap());
        // A block of 8 bytes at 1, under label 2.
        let allocate = [1 | 1 << 3, 0, 2, 2, 8];
        let start = [&[0], &unused[..], &used, &allocate].concat();
        let magic = &recorded(&[])[..MAGIC];
        [magic, &frame(&[&start[..], &entries[1..].concat()].concat())].concat()
    };
    let cut = entries(&[b"hostile/only in a refused file", &[9]]);
    assert!(strictly("refused", &cut).is_err());
    assert!(!known("hostile/only in a refused file"));
    let trace = strictly("read", &entries(&[b"hostile/in a trace", &[6, 0]])).unwrap();
    assert!(
        matches!(trace.events()[0], Event::Allocate { label, .. } if label.as_str() == "hostile/in a trace")
    );
    assert!(!known("hostile/defined and never used"));
}

/// What the heap held at most while these bytes were read, beyond what it held before.
fn peak_of_reading(bytes: &[u8]) -> usize {
    let before = heap::live();
    heap::start_peak();
    let reading = tolerantly("large", bytes).unwrap();
    assert!(reading.trace.allocations() >= 5_000);
    heap::peak() - before
}

#[test]
fn a_snapshot_with_stack_frames_takes_a_fraction_of_its_size_in_json() {
    let frame = r#"{"filename":"/usr/lib/python3/site-packages/torch/nn/modules/module.py","name":"forward","line":1518}"#;
    let frames = [frame; 12].join(",");
    let entries: Vec<_> = (1..=5_000)
        .map(|i| {
            format!(
                r#"{{"action":"alloc","addr":{},"size":512,"stream":0,"frames":[{frames}]}}"#,
                i << 12
            )
        })
        .collect();
    let json = format!(r#"{{"segments":[],"device_traces":[[{}]]}}"#, entries.join(","));
    let peak = peak_of_reading(json.as_bytes());
    assert!(peak * 4 < json.len(), "{peak} B for {} B", json.len());
}

#[test]
fn a_pickle_takes_a_few_times_its_size() {
    let mut pickle = b"\x80\x04}\x94(\x8c\x0ddevice_traces\x94]\x94]\x94(".to_vec();
    let keys = ["action", "addr", "size", "stream"];
    for i in 0..20_000_u32 {
        pickle.extend(b"}\x94(");
        for key in keys {
            pickle.extend([0x8c, u8::try_from(key.len()).unwrap()]);
            pickle.extend(key.as_bytes());
            match key {
                "action" => pickle.extend(b"\x8c\x05alloc"),
                "addr" => pickle.extend([&[0x8a, 5][..], &(i + 1).to_le_bytes(), &[0]].concat()),
                "size" => pickle.extend(b"M\0\x02"),
                _ => pickle.extend(b"K\0"),
            }
        }
        pickle.push(b'u');
    }
    pickle.extend(b"eau.");
    let peak = peak_of_reading(&pickle);
    assert!(peak < pickle.len() * 8, "{peak} B for {} B", pickle.len());
}

/// Either would be the death of a process that built what these few bytes ask for.
#[test]
fn pickles_that_nest_deeply_or_double_are_harmless() {
    let deep = [&b"\x80\x04)"[..], &vec![0x85; 1 << 20], b"."].concat();
    assert!(read("deep", &deep).unwrap_err().reason().contains("no device_traces"));
    let lists = [&b"\x80\x04]"[..], &b"]a".repeat(1 << 18), b"."].concat();
    assert!(read("lists", &lists).is_err());
    let nested =
        [&b"\x80\x04"[..], &vec![b']'; 1 << 18], &vec![b'a'; (1 << 18) - 1], b"."].concat();
    assert!(read("nested", &nested).is_err());
    let doubled = [&b"\x80\x04]"[..], &b"2a".repeat(100_000), b"."].concat();
    assert!(read("doubled", &doubled).is_err());
    // One history, listed for a thousand devices.
    let entry =
        b"}(\x8c\x06action\x8c\x05alloc\x8c\x04addrK\x05\x8c\x04sizeK\x08\x8c\x06streamK\0u";
    let shared = [
        &b"\x80\x04}\x8c\x0ddevice_traces]]("[..],
        &entry.repeat(100),
        b"e\x94",
        &b"ah\0".repeat(1_000),
        b"as.",
    ]
    .concat();
    let error = read("shared", &shared).unwrap_err();
    assert!(error.reason().contains("share what is in them"), "{error}");
}

#[test]
fn the_names_of_threads_that_do_nothing_in_the_trace_are_not_kept() {
    let begin =
        "Thread,Time,Action,Pointer,Size,Stream\n1,t,allocate,0x10,8,0\n1,t,free,0x10,8,0\n";
    let rows = (0..20_000).map(|i| format!("{i:0>100},t,free,0x10,8,0\n"));
    let log: String = std::iter::once(begin.to_owned()).chain(rows).collect();
    let before = heap::live();
    heap::start_peak();
    let reading = tolerantly("threads", log.as_bytes()).unwrap();
    assert_eq!((reading.trace.allocations(), reading.trace.threads()), (1, 1));
    assert!(heap::peak() - before < 1 << 20, "{} B", heap::peak() - before);
}

/// Walked as often as they are referred to, a few megabytes of them would be hours.
#[test]
fn what_the_lists_of_a_pickle_share_is_not_walked_again_and_again() {
    let many = 3_000;
    let entry =
        b"}(\x8c\x06action\x8c\x05alloc\x8c\x04addrK\x05\x8c\x04sizeK\x08\x8c\x06streamK\0u";
    // Memo 0: a list of empty lists, or of entries; it is the blocks of every segment.
    let snapshot = |elements: &[u8]| {
        [
            &b"\x80\x04]\x94"[..],
            &elements.repeat(many),
            b"0}\x8c\x0ddevice_traces]](",
            entry,
            b"eas\x8c\x08segments](",
            &b"}\x8c\x06blocksh\0s".repeat(many),
            b"es.",
        ]
        .concat()
    };
    for elements in [&b"]a"[..], b"}a"] {
        let error = read("shared", &snapshot(elements)).unwrap_err();
        assert!(error.reason().contains("share what is in them"), "{error}");
    }
    // Not shared, it is read.
    let mut once = snapshot(b"]a");
    let blocks = b"}\x8c\x06blocksh\0s".len() * (many - 1);
    let end = once.len() - 3;
    drop(once.drain(end - blocks..end));
    assert_eq!(read("once", &once).unwrap().trace.allocations(), 1);
}
