//! Memory snapshots of PyTorch, in both forms.

use vmem_trace::{Event, Frames, Irregularity, ReadOptions, Strictness, Trace, read};

use crate::support::{count, data, strictly, tolerantly};

const SNAPSHOT: &str = r#"{"segments": [], "device_traces": [[], [
    {"action": "segment_alloc", "addr": 4096, "size": 2097152, "stream": 0, "frames": []},
    {"action": "alloc", "addr": 4096, "size": 1000, "stream": 0, "frames": []},
    {"action": "alloc", "addr": 8192, "size": 500, "stream": 77, "frames": []},
    {"action": "oom", "addr": 0, "size": 9999999, "stream": 0, "device_free": 5},
    {"action": "free_requested", "addr": 4096, "size": 1000, "stream": 0},
    {"action": "free_completed", "addr": 4096, "size": 1000, "stream": 0},
    {"action": "alloc", "addr": 4096, "size": 700, "stream": 0}
]]}"#;

#[test]
fn a_pytorch_snapshot_is_what_the_program_asked_for_on_its_one_device() {
    let trace = strictly("s.json", SNAPSHOT.as_bytes()).unwrap();
    assert_eq!((trace.allocations(), trace.streams()), (3, 2));
    assert_eq!(trace.peak_live(), 1500);
    assert_eq!(trace.events().len(), 5);
    assert!(matches!(trace.events()[2], Event::Failure { size: 9_999_999, .. }));
}

#[test]
fn a_bad_snapshot_is_refused_with_the_place() {
    for (from, to, reason) in [
        ("device_traces", "traces", "no device_traces; accepted"),
        ("[[],", "[[{\"action\": \"snapshot\"}],", "device 0 (1 entries), device 1 (7 entries)"),
        ("\"size\": 500", "\"size\": -5", "device_traces[1][2]: size is not"),
        ("\"size\": 500", "\"size\": 0", "device_traces[1][2]: the size cannot be 0"),
        ("8192", "4096", "device_traces[1][2]: the block at 0x1000 is still live"),
        (
            "free_requested\", \"addr\": 4096",
            "free_requested\", \"addr\": 1",
            "before the log begins",
        ),
        ("\"action\": \"oom\"", "\"act\": \"oom\"", "device_traces[1][3]: it has no action"),
    ] {
        assert!(SNAPSHOT.contains(from));
        let error = strictly("s.json", SNAPSHOT.replace(from, to).as_bytes()).unwrap_err();
        assert!(error.reason().contains(reason), "{error}");
    }
    let error = strictly("s.json", &SNAPSHOT.as_bytes()[..SNAPSHOT.len() - 2]).unwrap_err();
    assert_eq!(error.line(), Some(9), "{error}");
    let error = strictly("s.json", b"{\"device_traces\": [[], []]}").unwrap_err();
    assert!(error.reason().contains("no device has a history"), "{error}");
}

/// A snapshot of one device with this history.
fn history(entries: &str) -> String {
    format!(r#"{{"segments":[],"device_traces":[[{entries}]]}}"#)
}

fn entry(action: &str, addr: u64, size: u64) -> String {
    format!(r#"{{"action":"{action}","addr":{addr},"size":{size},"stream":0}}"#)
}

fn of(entries: &[(&str, u64, u64)]) -> Trace {
    let entries: Vec<_> =
        entries.iter().map(|&(what, addr, size)| entry(what, addr, size)).collect();
    tolerantly("s.json", history(&entries.join(",")).as_bytes()).unwrap().trace
}

#[test]
fn a_completed_free_that_nobody_requested_is_a_free() {
    let trace = of(&[
        ("alloc", 4096, 1 << 20),
        ("free_completed", 4096, 1 << 20),
        ("alloc", 8192, 1 << 20),
        ("free_completed", 8192, 1 << 20),
    ]);
    assert_eq!(trace.peak_live(), 1 << 20);
    assert_eq!(trace.events().len(), 4);
}

#[test]
fn a_completed_free_of_a_requested_one_is_nothing_new_even_if_the_address_is_used_again() {
    let trace = of(&[
        ("alloc", 4096, 512),
        ("free_requested", 4096, 512),
        ("alloc", 4096, 1024),
        ("free_completed", 4096, 512),
        ("alloc", 8192, 1),
    ]);
    assert_eq!(trace.peak_live(), 1025);
}

#[test]
fn a_block_that_a_wrapped_history_only_sees_freed_is_live_from_its_start() {
    let text = history(&[entry("alloc", 4096, 512), entry("free_requested", 8192, 512)].join(","));
    let reading = tolerantly("s.json", text.as_bytes()).unwrap();
    assert_eq!(reading.trace.peak_live(), 1024);
    assert_eq!(count(&reading, Irregularity::EarlierBlock), 1);
    assert!(strictly("s.json", text.as_bytes()).is_err());
}

#[test]
fn a_block_in_use_that_the_history_never_mentions_is_live_throughout() {
    let text = r#"{"segments":[{"device":0,"address":4096,"stream":7,"blocks":[
        {"size":512,"requested_size":500,"state":"active_allocated"},
        {"size":512,"state":"inactive"},
        {"size":1024,"requested_size":1000,"state":"active_allocated"}]},
        {"device":1,"address":65536,"blocks":[{"size":9999,"state":"active_allocated"}]}],
        "device_traces":[[{"action":"alloc","addr":5120,"size":1000,"stream":0}]]}"#;
    let reading = tolerantly("s.json", text.as_bytes()).unwrap();
    // What is said of a segment may come after its blocks.
    let turned = text
        .replacen(r#"{"device":0,"address":4096,"stream":7,"blocks":["#, r#"{"blocks":["#, 1)
        .replacen("}]},", r#"}],"device":0,"address":4096,"stream":7},"#, 1);
    assert_eq!(tolerantly("s.json", turned.as_bytes()).unwrap(), reading);
    // The block at 5120 is the one that the history sees allocated.
    assert_eq!(reading.trace.peak_live(), 1500);
    assert_eq!((reading.trace.allocations(), reading.trace.streams()), (2, 2));
    assert_eq!(count(&reading, Irregularity::EarlierBlock), 1);
}

#[test]
fn of_several_devices_the_one_with_most_entries_is_taken_or_the_one_that_is_chosen() {
    let text = format!(
        r#"{{"device_traces":[[{}],[{},{}],[]]}}"#,
        entry("alloc", 4096, 512),
        entry("alloc", 4096, 100),
        entry("alloc", 8192, 100)
    );
    let reading = tolerantly("s.json", text.as_bytes()).unwrap();
    assert_eq!(reading.trace.peak_live(), 200);
    assert_eq!(count(&reading, Irregularity::OtherDevice), 1);
    assert!(reading.notes[0].first.contains("device 0 (1 entries), device 1 (2 entries)"));

    let mut options = ReadOptions::default();
    for (device, peak) in [(0, 512), (1, 200)] {
        options.device = Some(device);
        let reading = options.read("s.json", text.as_bytes()).unwrap();
        assert_eq!((reading.trace.peak_live(), reading.notes.len()), (peak, 0));
    }
    // A choice leaves nothing to refuse.
    options.strictness = Strictness::Strict;
    assert!(options.read("s.json", text.as_bytes()).is_ok());
    for absent in [2, 3] {
        options.device = Some(absent);
        let error = options.read("s.json", text.as_bytes()).unwrap_err();
        assert!(error.reason().contains("has no history; there are device 0"), "{error}");
    }
}

#[test]
fn a_snapshot_that_is_cut_off_is_read_up_to_the_cut() {
    let cut = SNAPSHOT.find("8192, \"size\"").unwrap();
    let reading = tolerantly("s.json", &SNAPSHOT.as_bytes()[..cut]).unwrap();
    assert_eq!((reading.trace.allocations(), reading.trace.peak_live()), (1, 1000));
    assert_eq!(count(&reading, Irregularity::CutEnd), 1);

    let pickle = data("snapshot.pickle");
    let whole = strictly("s.pickle", &pickle).unwrap();
    let reading = tolerantly("s.pickle", &pickle[..pickle.len() - 700]).unwrap();
    let (some, all) = (reading.trace.events(), whole.events());
    assert!(some.len() > 10 && some.len() < all.len());
    assert_eq!(some, &all[..some.len()]);
    assert_eq!(count(&reading, Irregularity::CutEnd), 1);
}

/// Forty allocations from a real history, each form as Python wrote it.
#[test]
fn a_pickle_is_read_as_the_same_snapshot_in_json_whatever_its_protocol() {
    let json = strictly("snapshot", &data("snapshot.json")).unwrap();
    assert_eq!((json.allocations(), json.peak_live()), (40, 1_866_486_440));
    for name in ["snapshot.pickle", "snapshot_2.pickle"] {
        assert_eq!(strictly("snapshot", &data(name)).unwrap(), json, "{name}");
    }
}

#[test]
fn what_would_call_into_python_is_refused_by_name_and_never_done() {
    // os.system("true"), in protocol 2.
    let error = read("p", b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.").unwrap_err();
    assert!(
        error.reason().contains("operation 0x63 calls into Python, which is not done"),
        "{error}"
    );
    for code in *b"\x93Rbio\x81\x92PQ\x82\x83\x84" {
        let error = read("p", &[0x80, 4, b'}', code, b'.']).unwrap_err();
        assert!(error.reason().contains("calls into Python"), "{code:#x}: {error}");
    }
}

#[test]
fn pickles_that_are_no_snapshots_are_refused_with_the_place() {
    for (bytes, reason) in [
        (&b"\x80\x04}."[..], "no device_traces"),
        (b"\x80\x04.", "at byte 2: it takes what was not put there"),
        (b"\x80\x04\xff", "at byte 2: operation 0xff is unknown"),
        (b"\x80\x04K\x01K\x02a.", "adds to what is no container"),
        (b"\x80\x04h\x05.", "value 5 is used and was not kept"),
        (b"\x80\x04]r\xff\xff\xff\xff.", "kept out of order"),
        (b"\x80\x04}\x8c\x0ddevice_traces]s.", "no device has a history"),
    ] {
        let error = read("p", bytes).unwrap_err();
        assert!(error.reason().contains(reason), "{error}");
    }
}

/// A pickle of protocol 4, as Python writes these values; nothing is shared.
fn pickled(value: &serde_json::Value) -> Vec<u8> {
    fn put(value: &serde_json::Value, into: &mut Vec<u8>) {
        let text = |text: &str, into: &mut Vec<u8>| {
            into.push(b'X');
            into.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
            into.extend(text.as_bytes());
        };
        match value {
            serde_json::Value::Object(fields) => {
                into.extend(b"}(");
                for (key, value) in fields {
                    text(key, into);
                    put(value, into);
                }
                into.push(b'u');
            }
            serde_json::Value::Array(elements) => {
                into.extend(b"](");
                elements.iter().for_each(|element| put(element, into));
                into.push(b'e');
            }
            serde_json::Value::Number(number) => {
                into.extend([0x8a, 8]);
                into.extend(number.as_i64().unwrap().to_le_bytes());
            }
            serde_json::Value::String(own) => text(own, into),
            other => panic!("{other}"),
        }
    }
    let mut bytes = vec![0x80, 4];
    put(value, &mut bytes);
    bytes.push(b'.');
    bytes
}

const WITH_FRAMES: &str = r#"{"segments":[{"device":0,"address":65536,"stream":0,"blocks":[
    {"size":512,"requested_size":500,"state":"active_allocated",
     "frames":[{"name":"load","filename":"/home/me/model/data.py","line":3}]}]}],
    "device_traces":[[
    {"action":"alloc","addr":4096,"size":8,"stream":0,"time_us":1000,"frames":[
        {"name":"at::empty","filename":"??","line":0},
        {"name":"forward","filename":"/opt/python/torch/nn/linear.py","line":9},
        {"name":"size","filename":"/home/me/model/train.py","line":30},
        {"name":"main","filename":"train.py","line":1}]},
    {"action":"alloc","addr":8192,"size":8,"stream":0,"time_us":1007,"frames":[]},
    {"action":"free_requested","addr":4096,"size":8,"stream":0,"time_us":1010}]]}"#;

#[test]
fn stack_frames_become_labels_and_times_are_kept_in_both_forms() {
    let value = serde_json::from_str(WITH_FRAMES).unwrap();
    let mut options = ReadOptions::default();
    for (frames, expected) in [
        (Frames::Innermost, ["model/data.py:3:load", "model/train.py:30:size", ""]),
        (
            Frames::All,
            [
                "/home/me/model/data.py:3:load",
                "??:0:at::empty\n/opt/python/torch/nn/linear.py:9:forward\n\
                 /home/me/model/train.py:30:size\ntrain.py:1:main",
                "",
            ],
        ),
    ] {
        options.frames = frames;
        let json = options.read("s", WITH_FRAMES.as_bytes()).unwrap();
        let labels = json.trace.events().iter().filter_map(|event| match event {
            Event::Allocate { label, .. } => Some(label.as_str()),
            _ => None,
        });
        assert_eq!(labels.collect::<Vec<_>>(), expected);
        assert_eq!(json.trace.times(), Some(&[0, 0, 7_000, 10_000][..]));
        let pickle = options.read("s", &pickled(&value)[..]).unwrap();
        assert_eq!((pickle.trace, pickle.notes), (json.trace, json.notes));
    }
}

/// Two frames with long names, and thousands of stacks of a few bytes that have them in every order.
#[test]
fn stacks_that_share_long_frames_are_refused_before_their_labels_fill_the_memory() {
    let mut pickle = b"\x80\x04}\x8c\x0ddevice_traces](](".to_vec();
    for stack in 0..3_000_u32 {
        pickle.extend(b"}(\x8c\x06action\x8c\x05alloc\x8c\x06frames](");
        for bit in 0..12 {
            if stack == 0 && bit < 2 {
                let name = [&[b'a' + bit][..], &[b'x'; 255]].concat();
                pickle.extend(b"}(\x8c\x04nameX\0\x01\0\0");
                pickle.extend(&name);
                pickle.extend([b'u', b'q', bit]);
            } else {
                pickle.extend([b'h', u8::try_from(stack >> bit & 1).unwrap()]);
            }
        }
        pickle.extend(b"e\x8c\x04addrJ");
        pickle.extend((stack + 1).to_le_bytes());
        pickle.extend(b"\x8c\x04sizeK\x08\x8c\x06streamK\0u");
    }
    pickle.extend(b"ees.");
    let mut options = ReadOptions::default();
    assert!(options.read("s", &pickle[..]).is_ok());
    options.frames = Frames::All;
    let error = options.read("s", &pickle[..]).unwrap_err();
    assert!(error.reason().contains("labels of its stack frames"), "{error}");
}
