//! `vmem inspect`.

use crate::support::{Folder, assert_refused, ran};

#[test]
fn a_file_is_described_in_ten_lines() {
    let folder = Folder::new();
    let log = "Thread,Time,Action,Pointer,Size,Stream\n\
               7,10:00:00.5,allocate,0x100,1000000,0\n\
               8,10:00:01.0,allocate,0x900,500,5\n\
               7,10:00:02.0,allocate failure,0x0,99999999999,0\n\
               7,10:00:02.75,free,0x100,1000000,0\n";
    let log = folder.file("log.csv", log);
    let outcome = ran(&["inspect", &log]);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""));
    let size = std::fs::metadata(&log).unwrap().len();
    let expected = format!(
        "\
file      {log} ({size} B)
format    an RMM log (Thread,Time,Action,Pointer,Size,Stream)
version   none
events    4: 2 allocations, 1 frees, 1 failed requests, 0 marks
streams   2, used by 2 threads
live      at most 1000500 B (977.1 KiB), first after event 1; 500 B in 1 blocks at the end
largest   1000000 B (976.6 KiB)
time      2.25s, first event to last
labels    none
whole     yes
"
    );
    assert_eq!(outcome.out, expected);
}

#[test]
fn a_recording_tells_its_version_its_labels_and_whether_it_was_cut() {
    let folder = Folder::new();
    let log =
        "Thread,Time,Action,Pointer,Size,Stream\n1,0,allocate,0x10,8,0\n1,1,allocate,0x20,9,0\n";
    let log = folder.file("log.csv", log);
    let sites = folder.file("sites.csv", "Pointer,Bytes,Site\n0x10,8,small\n0x20,9,large\n");
    let recording = folder.path("log.vmem");
    assert_eq!(ran(&["convert", &log, "-o", &recording, "--labels", &sites]).code, 0);
    let said = ran(&["inspect", &recording]).out;
    for line in [
        "format    a vmem recording\nversion   2\n",
        "time      not in the file\n",
        "labels    2 on 2 of 2 allocations; most bytes: large (9 B)\nwhole     yes\n",
    ] {
        assert!(said.contains(line), "{said}");
    }
    // Without its end, as a program leaves it that is killed.
    let whole = std::fs::read(&recording).unwrap();
    std::fs::write(&recording, &whole[..whole.len() - 1]).unwrap();
    let outcome = ran(&["inspect", &recording]);
    assert_eq!(outcome.code, 2, "the one frame there is was cut");
    assert!(outcome.err.contains("an end that is cut off"), "{}", outcome.err);
}

#[test]
fn several_files_are_told_apart_and_what_is_no_trace_is_refused() {
    let folder = Folder::new();
    let one = folder.file("one.csv", "id,lower,upper,size\n0,0,2,64\n");
    let cut = folder.file("cut.csv", "id,lower,upper,size\n0,0,2,64\n1,0,3,6");
    let said = ran(&["inspect", &one, &cut]);
    assert_eq!(said.out.lines().count(), 10 + 1 + 10, "{}", said.out);
    assert!(said.out.ends_with("whole     yes\n"), "{}", said.out);
    let text = folder.file("text.csv", "something else\n");
    assert_refused(&["inspect", &text], &["text.csv", "accepted are an RMM log"]);
}
