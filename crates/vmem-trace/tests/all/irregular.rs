//! Logs as they are: cut, begun late, appended to each other, with other lines in them.

use vmem_trace::{Event, Irregularity, Origin, Reading};

use crate::support::{count, data, strictly, tolerantly};

const HEADER: &str = "Thread,Time,Action,Pointer,Size,Stream\n";

/// What is read of a log with these rows, which is refused where it is read strictly.
#[track_caller]
fn odd(text: &str) -> Reading {
    assert!(strictly("log.csv", text.as_bytes()).is_err());
    tolerantly("log.csv", text.as_bytes()).unwrap()
}

/// What is read of a log in which there is nothing odd.
#[track_caller]
fn fine(text: &str) -> Reading {
    let reading = tolerantly("log.csv", text.as_bytes()).unwrap();
    assert_eq!(strictly("log.csv", text.as_bytes()).unwrap(), reading.trace);
    reading
}

/// How many allocations there are, how many events, and the peak.
fn figures(reading: &Reading) -> (u64, usize, u64) {
    let trace = &reading.trace;
    (trace.allocations(), trace.events().len(), trace.peak_live())
}

#[test]
fn allocations_of_no_bytes_are_left_out_and_counted() {
    let reading = odd(&format!(
        "{HEADER}1,00:00:00,allocate,(nil),0,0\n1,00:00:00,allocate,0x7f00,1024,0\n\
         1,00:00:00,free,(nil),0,0\n1,00:00:00,free,0x7f00,1024,0\n"
    ));
    assert_eq!(figures(&reading), (1, 2, 1024));
    assert_eq!(count(&reading, Irregularity::ZeroSize), 2);
    assert_eq!(reading.notes.len(), 1);
}

#[test]
fn a_last_row_that_is_cut_off_is_left_out_and_said() {
    let reading =
        odd(&format!("{HEADER}1,00:00:00,allocate,0x7f00,1024,0\n1,00:00:00,allocate,0x8f00,10"));
    assert_eq!(figures(&reading), (1, 1, 1024));
    assert_eq!(count(&reading, Irregularity::CutEnd), 1);
    assert!(reading.notes[0].first.starts_with("line 3: 5 fields"), "{}", reading.notes[0]);
    // A row that is all there needs no line feed.
    fine(&format!("{HEADER}1,00:00:00,allocate,0x7f00,1024,0"));
}

#[test]
fn a_block_that_is_freed_and_was_never_allocated_is_live_from_the_start() {
    let reading = odd(&format!(
        "{HEADER}2,00:00:00,allocate,0x7f00,1000,0\n1,00:00:00,free,0x7e00,512,aa\n\
         1,00:00:00,free,0x7f00,1000,0\n1,00:00:00,free,0x7e00,512,aa\n"
    ));
    assert_eq!(figures(&reading), (2, 4, 1512));
    assert_eq!(count(&reading, Irregularity::EarlierBlock), 1);
    // The second free of it is of nothing: the address has been seen.
    assert_eq!(count(&reading, Irregularity::NotLive), 1);
    // Streams and threads are numbered as they appear now.
    let events = reading.trace.events();
    let first = Origin { stream: 0, thread: 0 };
    assert!(matches!(events[0], Event::Allocate { size: 512, origin, .. } if origin == first));
    let second = Origin { stream: 1, thread: 1 };
    assert!(matches!(events[1], Event::Allocate { size: 1000, origin, .. } if origin == second));
}

#[test]
fn lines_of_others_are_left_out_and_counted_wherever_they_are() {
    let reading = odd(&format!(
        "Loading the model, please wait\n{HEADER}1,t,allocate,0x7f00,1024,0\n\
         WARNING: low memory, 3, 2\n[INFO] step 5\n\u{0}\u{0}\u{0}\n1,t,free,0x7f00,1024,0\n"
    ));
    assert_eq!(figures(&reading), (1, 2, 1024));
    assert_eq!(count(&reading, Irregularity::ForeignLine), 4);
    assert!(reading.notes[0].to_string().contains("Loading the model"), "{}", reading.notes[0]);
}

#[test]
fn rows_that_are_not_understood_and_lines_that_are_no_text_are_left_out_and_counted() {
    let mut bytes =
        format!("{HEADER}1,t,allocate,0x7f00,1024,0\n1,t,allocate,here,8,0\n").into_bytes();
    bytes.extend(b"1,t,allocate,\xff\xfe,8,0\n1,t,free,0x7f00,-4,0\n");
    bytes.extend(vec![b'x'; 200_000]);
    bytes.extend(b"\n1,t,free,0x7f00,1024,0\n");
    let reading = tolerantly("log.csv", &bytes).unwrap();
    assert_eq!(figures(&reading), (1, 2, 1024));
    assert_eq!(count(&reading, Irregularity::BadField), 2);
    assert_eq!(count(&reading, Irregularity::ForeignLine), 2);
    assert!(reading.notes.iter().all(|note| note.first.len() < 1000));
}

#[test]
fn at_the_header_of_an_appended_log_what_was_live_ends() {
    let run = "1,t,allocate,0x7f00,1024,0\n1,t,allocate,0x8f00,1024,0\n1,t,free,0x7f00,1024,0\n";
    let late = "1,t,free,0x9f00,100,0\n";
    let reading = odd(&format!("{HEADER}{run}{HEADER}{run}{late}"));
    assert_eq!(count(&reading, Irregularity::NewRun), 1);
    assert_eq!(count(&reading, Irregularity::EarlierBlock), 1);
    // The early block of the second run is live in that run alone.
    let sizes: Vec<_> = reading
        .trace
        .events()
        .iter()
        .map(|event| match event {
            Event::Allocate { size, .. } => i64::try_from(*size).unwrap(),
            _ => -1,
        })
        .collect();
    assert_eq!(sizes, [1024, 1024, -1, -1, 100, 1024, 1024, -1, -1]);
    assert_eq!(reading.trace.peak_live(), 2148);
}

#[test]
fn columns_are_found_by_their_names() {
    let reading = fine(
        "Stream,Size,Note,Pointer,ACTION,Thread\n0x5,10,first,0x10,allocate,7\n\
         0x5,10,,0x10,free,8\n",
    );
    assert_eq!(figures(&reading), (1, 2, 10));
    assert_eq!((reading.trace.streams(), reading.trace.threads()), (1, 2));
    let reading = fine("size,upper,offset,id,lower\n64,9,0,5,2\n");
    assert_eq!(figures(&reading), (1, 2, 64));
}

/// As of 2020, before threads were logged, and of 2019, when frees had no size.
#[test]
fn older_forms_of_the_log_are_read() {
    let reading = fine(
        "Time,Action,Pointer,Size,Stream\n22:37:25:738700,allocate,0x7f68a2000000,1048576,0\n\
         22:37:25:738725,free,0x7f68a2000000,1048576,0\n",
    );
    assert_eq!(figures(&reading), (1, 2, 1 << 20));
    let reading = fine(
        "Event Type,Device ID,Address,Stream,Size (bytes),Free Memory,Total Memory,Current Allocs,\
         Start,End,Elapsed,Location\n\
         Alloc,0,0x7f4b99a00000,0,1000,1048064,1048576,1,13.8,13.8,3.7e-06,core.py:3331\n\
         Free,0,0x7f4b99a00000,0,0,1048576,1048576,0,14.1,14.1,1.7e-06,core.py:3331\n",
    );
    assert_eq!(figures(&reading), (1, 2, 1000));
}

#[test]
fn rows_without_a_header_are_read_by_their_contents() {
    for row in ["1,00:00:00,allocate,0x7f00,1024,0\n", "00:00:00,allocate,0x7f00,1024,0\n"] {
        let reading = odd(&format!("{}{row}", row.replace("7f00", "7e00")));
        assert_eq!(figures(&reading), (2, 2, 2048));
        assert_eq!(count(&reading, Irregularity::NoHeader), 1);
    }
}

#[test]
fn the_log_of_the_debug_logger_is_read() {
    let reading = fine(
        "[  7120][10:00:00:000001][debug ] ----- RMM LOG [PTDS DISABLED] -----\n\
         [  7120][10:00:00:000002][trace ] [A][stream 0x0][1000B]\n\
         [  7120][10:00:00:000003][trace ] [A][stream 0x0][1024B][0x7f0000000000]\n\
         [  7120][10:00:00:000004][trace ] [Summary][Free lists: 1][Blocks: 1][Max Block: 1]\n\
         [  7121][10:00:00:000005][trace ] [A][stream 0x5][512B][0x7f0000000400]\n\
         [  7121][10:00:00:000006][trace ] [D][stream 0x0][1000B][0x7f0000000000]\n",
    );
    assert_eq!(figures(&reading), (2, 3, 1536));
    assert_eq!((reading.trace.streams(), reading.trace.threads()), (2, 2));
}

#[test]
fn a_free_that_is_logged_after_its_address_was_handed_out_again_takes_effect_in_time() {
    let reading = odd(&format!(
        "{HEADER}1,t,allocate,0x10,1000,0\n2,t,allocate,0x10,500,0\n1,t,free,0x10,1000,0\n\
         2,t,free,0x10,500,0\n"
    ));
    assert_eq!(figures(&reading), (2, 4, 1000));
    assert_eq!(count(&reading, Irregularity::StillLive), 1);
    assert_eq!(reading.notes.len(), 1);
}

/// A row that cannot be read costs the free that was in it, and none of those that follow.
#[test]
fn a_free_that_is_lost_leaves_nothing_live_at_the_end() {
    let pair = |free: &str| format!("1,t,allocate,0x10,1000,0\n1,t,{free},0x10,1000,0\n");
    let reading = odd(&format!("{HEADER}{}{}{}", pair("fr\u{0}e"), pair("free"), pair("free")));
    assert_eq!(figures(&reading), (3, 6, 1000));
    assert_eq!(count(&reading, Irregularity::StillLive), 1);
    let event = |action: &str| format!(r#"{{"action":"{action}","addr":16,"size":8,"stream":0}}"#);
    let [alloc, free] = ["alloc", "free_requested"].map(event);
    // A snapshot has things in order: a second free is no late one.
    let entries = [&alloc, &alloc, &free, &free].map(String::as_str).join(",");
    let reading = odd(&format!(r#"{{"device_traces":[[{entries}]]}}"#));
    assert_eq!(figures(&reading), (2, 4, 8));
    assert_eq!(count(&reading, Irregularity::NotLive), 1);
}

/// The free that is late here is that of the first thread, whenever the others note theirs.
#[test]
fn a_late_free_of_another_thread_does_not_swallow_that_of_the_block_now_there() {
    let reading = odd(&format!(
        "{HEADER}1,t,allocate,0x10,8,0\n2,t,allocate,0x10,8,0\n2,t,free,0x10,8,0\n\
         1,t,free,0x10,8,0\n3,t,allocate,0x10,8,0\n3,t,free,0x10,8,0\n"
    ));
    assert_eq!(figures(&reading), (3, 6, 8));
    assert_eq!(reading.notes.len(), 1);
}

#[test]
fn a_free_of_another_size_frees_the_block() {
    let reading = odd(&format!("{HEADER}1,t,allocate,0x10,1000,0\n1,t,free,0x10,1001,0\n"));
    assert_eq!(figures(&reading), (1, 2, 1000));
    assert_eq!(count(&reading, Irregularity::WrongSize), 1);
}

#[test]
fn odd_lifetimes_are_left_out_and_an_appended_table_comes_after_the_first() {
    let table = "id,lower,upper,size\n0,0,5,100\n";
    let reading = odd(&format!("{table}1,7,7,10\n# by hand\n0,1,2,7\n{table}1,0,9"));
    assert_eq!(figures(&reading), (2, 4, 100));
    assert_eq!(count(&reading, Irregularity::BadField), 2);
    for what in [Irregularity::ForeignLine, Irregularity::NewRun, Irregularity::CutEnd] {
        assert_eq!(count(&reading, what), 1, "{what}");
    }
}

/// The beginning of the log of a process that was killed, from the middle on, and a piece of one
/// that ran into a limit.
#[test]
fn pieces_of_real_logs_are_read() {
    let reading = odd(str::from_utf8(&data("killed.csv")).unwrap());
    assert_eq!(count(&reading, Irregularity::NoHeader), 1);
    assert_eq!(count(&reading, Irregularity::CutEnd), 1);
    assert!(count(&reading, Irregularity::EarlierBlock) > 5);
    assert_eq!(reading.notes.len(), 3);
    assert_eq!(
        reading.trace.events().len() as u64,
        51 + count(&reading, Irregularity::EarlierBlock)
    );

    let reading = tolerantly("refused.csv", &data("refused.csv")).unwrap();
    let failures = reading.trace.events().iter();
    let failures = failures.filter(|event| matches!(event, Event::Failure { .. })).count();
    assert_eq!(failures, 1);
    assert_eq!(reading.notes.len(), 1, "{:?}", reading.notes);
    assert_eq!(count(&reading, Irregularity::EarlierBlock), 3);
}

#[test]
fn a_note_says_what_how_often_and_where_first() {
    let reading = odd(&format!("{HEADER}1,t,allocate,0x10,8,0\nnoise\nmore, noise\n"));
    assert_eq!(
        reading.notes[0].to_string(),
        "lines that are no rows, left out: 2; first: line 3: 1 fields; accepted are the 6 fields \
         Thread,Time,Action,Pointer,Size,Stream (the line is \"noise\")"
    );
}
