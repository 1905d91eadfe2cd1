use vmem_trace::{Event, Format, Origin, Trace, read_path};

use crate::support::{strictly, tolerantly};

fn rmm(rows: &str) -> String {
    format!("Thread,Time,Action,Pointer,Size,Stream\n{rows}")
}

fn lifetimes(rows: &str) -> String {
    format!("id,lower,upper,size\n{rows}")
}

fn parse(text: &str) -> Trace {
    strictly("test", text.as_bytes()).unwrap()
}

#[test]
fn an_rmm_log_keeps_streams_threads_order_and_failures() {
    let trace = parse(&rmm("\
        7120,10:00:00.000001,allocate,0x7f0000000000,1000,0x0\r\n\
        7121,10:00:00.000002,allocate,0x7f0000001000,500,0x55aa\n\
        \n\
        7121,10:00:00.000003,allocate failure,(nil),99999999,0x55aa\n\
        7120,10:00:00.000004,free,0x7f0000001000,500,0x0\n\
        7120,10:00:00.000005,allocate,7f0000001000,300,0x0\n\
        7120,10:00:00.000006,deallocate,0x7f0000000000,1000,0x0\n"));
    assert_eq!(trace.name(), "test");
    assert_eq!((trace.streams(), trace.threads()), (2, 2));
    assert_eq!((trace.allocations(), trace.slots()), (3, 2));
    assert_eq!(trace.peak_live(), 1500);
    let second = Origin { stream: 1, thread: 1 };
    let size = 99_999_999;
    let origin = second;
    assert_eq!(trace.events()[2], Event::Failure { size, origin });
    assert_eq!(trace.events()[3], Event::Free { slot: 1, origin: Origin::default() });
}

#[test]
fn lifetimes_are_half_open_and_happen_in_time_order_whatever_the_file_has() {
    let trace = parse(&lifetimes("2,10,20,64\n0,-5,10,100\n1,0,15,50\n"));
    let happened: Vec<_> = trace
        .events()
        .iter()
        .map(|event| match event {
            Event::Allocate { size, .. } => i64::try_from(*size).unwrap(),
            Event::Free { slot, .. } => -i64::from(*slot) - 1,
            _ => unreachable!(),
        })
        .collect();
    // Slot 0 is freed at time 10, before 64 bytes are allocated into it.
    assert_eq!(happened, [100, 50, -1, 64, -2, -1]);
    assert_eq!(trace.peak_live(), 150);
}

#[test]
fn formats_are_told_apart_by_their_first_line() {
    let sniff = |text: &str| Format::sniff(text.as_bytes());
    assert_eq!(sniff("id,lower,upper,size"), Some(Format::Lifetimes));
    assert_eq!(
        sniff(
            "
 ID, lower,upper,Size
0"
        ),
        Some(Format::Lifetimes)
    );
    let rmm = "Thread,Time,Action,Pointer,Size,Stream";
    assert_eq!(sniff(rmm), Some(Format::RmmLog));
    assert_eq!(sniff("id,lower,upper"), None);
    assert_eq!(sniff("id,lower,upper,size,offset"), Some(Format::Lifetimes));
    assert_eq!(sniff("\u{80}\u{4}"), None);
    assert_eq!(Format::sniff(b"\x80\x04\x95"), Some(Format::PyTorchPickle));
    assert_eq!(
        sniff(
            "vmem recording 2
"
        ),
        Some(Format::Recording)
    );
    assert_eq!(
        sniff(
            "vmem recording 1
"
        ),
        None
    );
    assert_eq!(sniff(" {"), Some(Format::PyTorchSnapshot));
    assert!(parse("\u{feff}id,lower,upper,size\n1,0,1,8\n").allocations() == 1);
}

/// Each bad row, the line it is in and words of the reason.
#[test]
fn a_bad_row_is_refused_with_its_line_its_text_and_what_is_accepted() {
    let good = "1,t,allocate,0x100,64,0\n";
    for (row, reason) in [
        ("1,t,allocate,0x200,64", "5 fields; accepted are the 6 fields Thread,Time"),
        ("1,t,allocate,0x200,64,0,0", "7 fields"),
        ("1,t,allocate,0x200,0,0", "at least 1 byte"),
        ("1,t,allocate,0x200,-64,0", "from 1 to 2^63"),
        ("1,t,allocate,0x200,18446744073709551616,0", "from 1 to 2^63"),
        ("1,t,allocate,0x200,18446744073709551615,0", "cannot be allocated"),
        ("1,t,allocate,0x200,many,0", "from 1 to 2^63"),
        ("1,t,allocate,0x100,64,0", "allocated in line 2"),
        ("1,t,allocate,pointer,64,0", "hexadecimal"),
        ("1,t,allocate,0x11112222333344445,64,0", "hexadecimal"),
        ("1,t,allocate,0x200,64,stream", "hexadecimal"),
        ("1,t,free,0x200,64,0", "no live block is at 0x200"),
        ("1,t,free,0x100,65,0", "frees 65 bytes of the 64 allocated at 0x100 in line 2"),
        ("1,t,reallocate,0x100,64,0", "allocate, free, deallocate, allocate failure"),
        (",t,allocate,0x200,64,0", "thread is missing"),
    ] {
        let error = strictly("log.csv", rmm(&format!("{good}{row}\n")).as_bytes()).unwrap_err();
        assert_eq!(error.line(), Some(3), "{error}");
        assert_eq!(error.text(), row);
        assert!(error.reason().contains(reason), "{row}: {error}");
        assert!(error.to_string().contains("log.csv, line 3"));
    }
    for (row, reason) in [
        ("1,0,5", "3 fields; accepted are the 4 fields id,lower,upper,size"),
        ("1,5,5,64", "upper must be above lower"),
        ("1,6,5,64", "upper must be above lower"),
        ("0,0,5,64", "that of line 2"),
        ("1,0,5,0", "at least 1 byte"),
        ("1,0,5,-1", "from 1 to 2^63"),
        ("1,0,5,9300000000000000000", "cannot be allocated"),
        ("1,0,5,1e6", "from 1 to 2^63"),
        ("1,x,5,64", "lower"),
        ("1,0,99999999999999999999,64", "upper"),
        ("a,0,5,64", "id"),
    ] {
        let text = lifetimes(&format!("0,0,9,32\n{row}\n"));
        let error = strictly("l.csv", text.as_bytes()).unwrap_err();
        assert_eq!((error.line(), error.text()), (Some(3), row), "{error}");
        assert!(error.reason().contains(reason), "{row}: {error}");
    }
}

#[test]
fn live_bytes_that_overflow_are_refused_where_they_do() {
    let half = 1u64 << 62;
    let rows: Vec<_> = (0..4).map(|id| format!("{id},0,9,{half}\n")).collect();
    let error = strictly("l.csv", lifetimes(&rows.concat()).as_bytes()).unwrap_err();
    assert_eq!(error.line(), Some(5));
    assert!(error.reason().contains("64 bits"), "{error}");
}

#[test]
fn what_is_no_trace_at_all_is_refused_with_the_formats() {
    for (bytes, line, reason) in [
        (&b""[..], None, "empty; accepted are an RMM log (Thread,Time"),
        (b"\n  \n", None, "empty"),
        (b"\n\na,b\n1,2\n", Some(3), "lifetimes (id,lower,upper,size)"),
        (b"id,lower,upper,size\n", None, "nothing is allocated"),
        (b"\x7fELF\x02\x01\0\0\0", None, "it is a program"),
        (b"\xfd7zXZ\0\0", None, "xz -dc FILE | vmem replay -"),
        (b"BZh91AY", None, "bzip2"),
        (b"PK\x03\x04\x14", None, "zip archive"),
        (b"\xff\xfet\0i\0", None, "UTF-16"),
        (b"\x80\x01", None, "pickle of an unknown protocol"),
        (b"vmem recording 9\n", None, "another version"),
        (&[0; 100_000], None, "no text"),
        (b"Time,Bytes,Retry\n1,2,3\n", Some(1), "does not start as a trace"),
    ] {
        let error = tolerantly("file", bytes).unwrap_err();
        assert_eq!(error.line(), line, "{error}");
        assert!(error.reason().contains(reason), "{error}");
    }
    let long = "x".repeat(5_000);
    let error = tolerantly("file", long.as_bytes()).unwrap_err();
    assert!(error.to_string().len() < 500);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = read_path("no/such/trace.csv").unwrap_err();
    assert!(error.to_string().contains("no/such/trace.csv"), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn text_that_is_not_utf_8_is_refused_in_strict_reading() {
    let error = strictly("file", b"id,lower,upper,size\n0,0,1,8\n\xff\xfe\n").unwrap_err();
    assert_eq!(error.line(), Some(3));
    assert!(error.reason().contains("UTF-8"), "{error}");
}

#[test]
fn times_of_a_log_go_past_midnight_and_not_back_within_a_day() {
    let row = |time: &str, pointer: u32| format!("1,{time},allocate,{pointer:#x},8,0\n");
    let rows = [
        ("23:59:59.5", 1),
        ("23:59:59.75", 2),
        // Of a thread that wrote late.
        ("23:59:59.7", 3),
        ("00:00:00.250000", 4),
        ("no time", 5),
        ("00:00:01", 6),
    ];
    let rows: String = rows.iter().map(|&(time, pointer)| row(time, pointer)).collect();
    let trace = parse(&format!("Thread,Time,Action,Pointer,Size,Stream\n{rows}"));
    let millis = trace.times().unwrap().iter().map(|time| time / 1_000_000);
    assert_eq!(millis.collect::<Vec<_>>(), [0, 250, 250, 750, 750, 1500]);
    // The debug logger has a colon before the fraction.
    let line = |time: &str, pointer: u32| {
        format!("[ 7][{time}][trace ] [A][stream 0x0][8B][{pointer:#x}]\n")
    };
    let trace = parse(&[line("10:00:00:000100", 16), line("10:00:00:000350", 32)].concat());
    assert_eq!(trace.times(), Some(&[0, 250_000][..]));
    // Without a column of times there are none.
    let trace = parse("action,pointer,size\nalloc,1,8\nalloc,2,8\n");
    assert_eq!(trace.times(), None);
}
