//! `vmem report`: the page, in a browser, and the picture.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::browser::opened;
use crate::support::{Folder, Outcome, assert_refused, document, ran};

/// What programs really asked for.
const REAL: [&str; 3] = ["overlay_1m", "limit_1gib", "torch_gpt"];

/// The arguments that name a real trace to `report` and to `replay` or `bench`: a workload where the program
/// has it, or else a file in the folder that `VMEM_TRACES` names; `None`, said loudly, without either.
fn real(name: &str, folder: &Folder) -> Option<(Vec<String>, Vec<String>)> {
    let workload = ["--workload", name].map(ToOwned::to_owned).to_vec();
    if ran(&["report", "--workload", name, "-o", &folder.path("trial.html")]).code == 0 {
        return Some((workload.clone(), [vec!["bench".to_owned()], workload].concat()));
    }
    let Some(traces) = std::env::var_os("VMEM_TRACES") else {
        crate::skip(&format!("{name}: VMEM_TRACES names no folder of public traces"));
        return None;
    };
    let log = Path::new(&traces).join("vibespatial").join(format!("{name}.csv"));
    let path = if log.is_file() {
        log.display().to_string()
    } else {
        let packed = Path::new(&traces).join("torch").join(format!("{name}.pickle.xz"));
        let unpacked = Command::new("xz").arg("-dc").arg(&packed).output().unwrap();
        assert!(unpacked.status.success(), "{}", packed.display());
        let path = folder.path(&format!("{name}.pickle"));
        fs::write(&path, unpacked.stdout).unwrap();
        path
    };
    Some((vec![path.clone()], vec!["replay".to_owned(), path]))
}

/// Opens the page about a trace and compares what it says with what replay says.
fn compare(source: &[&str], replayed: &[&str], tiers: &str) {
    let folder = Folder::new();
    let page = folder.path("page.html");
    let at = ["--tier", tiers, "--output", &page];
    let Outcome { code, err, .. } = ran(&[&["report"], source, &at].concat());
    assert_eq!(code, 0, "{err}");
    let bytes = fs::metadata(&page).unwrap().len();
    assert!(bytes < 10_000_000, "the page has {bytes} bytes");

    let (_, replayed) = document(&[replayed, &["--tier", tiers]].concat());
    let rows = replayed["rows"].as_array().unwrap();
    assert_eq!(rows.len(), tiers.split(',').count());
    let most_live = rows.iter().map(|row| row["peak_live_bytes"].as_u64().unwrap()).max().unwrap();

    let Some(dom) = opened(Path::new(&page), "") else { return };
    for (at, row) in rows.iter().enumerate() {
        let tier = row["tier"].as_str().unwrap();
        let figure = |name: &str| {
            let row = format!("<tr data-stack=\"{tier}\">");
            dom.figure(&["id=\"figures\"", &row, &format!("data-figure=\"{name}\"")])
        };
        assert_eq!(figure("peak-live"), row["peak_live_bytes"], "{tier}");
        assert_eq!(figure("peak-reserved"), row["peak_reserved_bytes"], "{tier}");
        assert_eq!(figure("driver-calls"), row["driver_calls"], "{tier}");
        // What is drawn, not only what is said. A stack may hold more for a moment within a request.
        let drawn: u64 = dom
            .attribute(&format!("<canvas id=\"space-{at}\""), "data-most-reserved")
            .parse()
            .unwrap();
        let held = row["peak_reserved_bytes"].as_u64().unwrap();
        assert!(drawn <= held && drawn >= row["peak_live_bytes"].as_u64().unwrap(), "{tier}");
    }
    let drawn: u64 = dom.attribute("<canvas id=\"live\"", "data-most-live").parse().unwrap();
    assert_eq!(drawn, most_live);
    // The page opens at the peak: what is said of the moment is what is live then, in each grouping.
    assert_eq!(dom.figure(&["id=\"moment\""]), most_live);
    assert_eq!(dom.figures("class=\"groups\"", "</ul>").iter().sum::<u64>(), most_live);
    for by in ["label", "size", "stream"] {
        let table = dom.after("id=\"peak\"").figures(&format!("data-by=\"{by}\""), "</table>");
        let bytes: u64 = table.iter().step_by(2).sum();
        assert_eq!(bytes, most_live, "what is live at the peak by {by}");
    }
}

#[test]
fn the_page_of_a_generated_workload_says_and_draws_what_replay_says() {
    let workload = ["--workload", "overlay-core"];
    let replayed = ["bench", "--workload", "overlay-core"];
    compare(&workload, &replayed, "a,fallback,plain");
}

#[test]
fn the_pages_of_real_traces_say_and_draw_what_replay_says() {
    let folder = Folder::new();
    for name in REAL {
        if let Some((source, replayed)) = real(name, &folder) {
            let [source, replayed] =
                [&source, &replayed].map(|all| all.iter().map(String::as_str).collect::<Vec<_>>());
            compare(&source, &replayed, "a,plain");
        }
    }
}

#[test]
fn the_page_of_a_snapshot_of_pytorch_says_and_draws_what_replay_says() {
    let snapshot = concat!(env!("CARGO_MANIFEST_DIR"), "/../vmem-trace/tests/data/snapshot.pickle");
    compare(&[snapshot], &["replay", snapshot], "a,plain");
}

#[test]
fn the_page_of_a_refused_request_says_what_replay_says_of_it() {
    let folder = Folder::new();
    let page = folder.path("page.html");
    let source = ["--workload", "overlay-core", "--tier", "a,a-chunks", "--capacity", "1200MiB"];
    let told = ran(&[&["report"], &source[..], &["-o", &page]].concat());
    assert_eq!(told.code, 0, "{}", told.err);
    let (_, replayed) =
        document(&[&["bench", "--passes", "1", "--min-device"], &source[..]].concat());
    let Some(dom) = opened(Path::new(&page), "") else { return };
    for row in replayed["rows"].as_array().unwrap() {
        let tier = row["tier"].as_str().unwrap();
        let section = dom.after(&format!("class=\"refusal\" data-stack=\"{tier}\""));
        let index = row["failed_index"].as_u64().unwrap();
        // What was asked for, the event, what was live then.
        assert_eq!(section.figures("<h2>", "</p>")[1], index, "{tier}");
        assert!(section.figures("<h2>", "</p>")[2] <= row["peak_live_bytes"].as_u64().unwrap());
        // The stack that refused needs more than it had; none needs more than for all of the trace.
        for other in replayed["rows"].as_array().unwrap() {
            let (name, most) = (other["tier"].as_str().unwrap(), &other["min_device_bytes"]);
            let needed = section.figure(&["class=\"needs\"", &format!("<th>{name}</th>")]);
            assert!(needed <= most.as_u64().unwrap(), "{name}");
            assert!(name != tier || needed > 1200 << 20, "{name}");
        }
        assert!(section.from("class=\"remedies\"").split("</ol>").next().unwrap().contains("<li>"));
    }
}

#[test]
fn the_page_of_a_pool_at_a_moment_is_drawn() {
    use vmem_core::{ResourceExt, Stream};
    use vmem_pool::{Pool, PoolConfig, VirtualArena};
    use vmem_sim::SimDevice;

    let device = SimDevice::new(64 << 20);
    let stream = Stream::new(device.clone()).unwrap();
    let pool = Pool::new(VirtualArena::new(device).unwrap(), PoolConfig::default()).unwrap();
    let held = pool.buffer(40 << 20, &stream).unwrap();
    let error = pool.buffer(30 << 20, &stream).unwrap_err();
    let folder = Folder::new();
    let page = folder.path("refused.html");
    let refusal = vmem_report::Refusal::write(&error, &pool.handle(), &page).unwrap();
    let Some(dom) = opened(Path::new(&page), "") else { return };
    assert_eq!(dom.figures("class=\"refusal\"", "</p>")[0], refusal.requested());
    assert_eq!(dom.figure(&["<header>"]), refusal.live());
    drop(held);
}

/// Two blocks of 2 MiB are freed with others between them; a request for 4 MiB then takes both, moved side
/// by side, and their own addresses are left without memory of their own.
#[test]
fn what_is_free_pending_and_mapped_elsewhere_at_a_moment_is_what_the_pool_has_then() {
    const MIB: u64 = 1 << 20;
    let folder = Folder::new();
    let lives = "id,lower,upper,size\n0,0,10,2097152\n1,1,30,2097152\n2,2,11,2097152\n\
                 3,3,31,2097152\n4,20,32,4194304\n";
    let (trace, page) = (folder.file("moves.csv", lives), folder.path("page.html"));
    let tiers = ["--tier", "a-bare,plain", "--capacity", "8MiB"];
    ran(&[&["report", &trace, "-o", &page], &tiers[..]].concat());
    // Reserved, free, pending, mapped elsewhere, largest free block, served without more memory.
    for (event, pool) in [(5, [8, 0, 4, 0, 2, 4]), (6, [8, 0, 0, 4, 0, 0])] {
        let Some(dom) = opened(Path::new(&page), &format!("at={event}")) else { return };
        let moment = dom.after("id=\"moment\"");
        let row = moment.figures("<tr data-stack=\"a-bare\">", "</tr>");
        assert_eq!(row, pool.map(|mib| mib * MIB), "event {event}");
        let plain = moment.figures("<tr data-stack=\"plain\">", "</tr>");
        assert_eq!(plain, [if event == 5 { 4 * MIB } else { 8 * MIB }, 0, 0, 0, 0]);
        let figures = dom.after("id=\"figures\"");
        let moved = figures.figures("<tr data-stack=\"a-bare\">", "</tr>");
        assert_eq!(moved.last(), Some(&(4 * MIB)));
    }
}

#[test]
fn what_nobody_knows_of_managed_memory_is_not_shown_as_nothing() {
    let folder = Folder::new();
    let trace = folder.file("lives.csv", "id,lower,upper,size\n0,0,10,2097152\n1,1,30,2097152\n");
    let page = folder.path("page.html");
    assert_eq!(ran(&["report", &trace, "-o", &page, "--tier", "a,c"]).code, 0);
    let text = fs::read_to_string(&page).unwrap();
    let row = |tier: &str| {
        let from = text.split_once(&format!("<tr data-stack=\"{tier}\">")).unwrap().1;
        from.split_once("</tr>").unwrap().0.to_owned()
    };
    assert!(row("a").contains("data-figure=\"peak-reserved\"><data"), "{}", row("a"));
    for unknown in ["data-figure=\"peak-reserved\">–<", "data-figure=\"driver-calls\"><data"] {
        assert!(row("c").contains(unknown), "{}", row("c"));
    }
    assert!(!row("c").contains("value=\"0\""), "{}", row("c"));
    assert_eq!(text.matches("\"reserved\":null").count(), 1);
    let picture = folder.path("picture.svg");
    assert_eq!(ran(&["report", &trace, "-o", &picture, "--tier", "c"]).code, 0);
    assert!(fs::read_to_string(&picture).unwrap().contains("c reserved, not known"));
    let Some(dom) = opened(Path::new(&page), "") else { return };
    let moment = dom.after("id=\"moment\"");
    assert_eq!(moment.figures("<tr data-stack=\"c\">", "</tr>"), [0; 0]);
    assert_eq!(moment.figures("<tr data-stack=\"a\">", "</tr>").len(), 6);
}

#[test]
fn the_pages_of_the_shortest_traces_are_drawn() {
    let folder = Folder::new();
    let head = "Thread,Time,Action,Pointer,Size,Stream\n";
    let (refused, served) =
        ("1,16:00:00.000001,allocate failure,(nil),1000,0\n", "1,16:00:01,allocate,0x700,1000,0\n");
    for log in [format!("{head}{served}"), format!("{head}{refused}{served}")] {
        let trace = folder.file("short <of> it.csv", &log);
        let page = folder.path("page.html");
        let told = ran(&["report", &trace, "-o", &page]);
        assert_eq!(told.code, 0, "{}", told.err);
        // What is asked for in the address and is not there does no harm.
        if let Some(dom) = opened(Path::new(&page), "from=5&to=1&at=77&by=nothing") {
            assert_eq!(dom.figure(&["id=\"moment\""]), 1000, "{log}");
            dom.from("<h1>short &lt;of&gt; it</h1>");
        }
    }
}

#[test]
fn several_traces_are_in_one_page_each_with_its_own_figures() {
    let folder = Folder::new();
    let small = folder.file("small.csv", "id,lower,upper,size\n0,0,2,1000\n1,1,3,500\n");
    let page = folder.path("page.html");
    let told = ran(&["report", &small, "--workload", "overlay-core", "-o", &page]);
    assert_eq!(told.code, 0, "{}", told.err);
    let Some(dom) = opened(Path::new(&page), "") else { return };
    assert_eq!(dom.attribute("<iframe", "data-trace"), "small");
    assert_eq!(dom.attribute("<iframe", "data-ready"), "yes");
    assert_eq!(dom.after("<iframe").after("</iframe>").attribute("<iframe", "data-ready"), "yes");
    assert_refused(
        &["report", &small, "--workload", "overlay-core", "-o", &folder.path("a.svg")],
        &["one trace"],
    );
}

#[test]
fn a_page_names_nothing_outside_of_itself() {
    let folder = Folder::new();
    let page = folder.path("page.html");
    ran(&["report", "--workload", "overlay-core", "--output", &page]);
    let text = fs::read_to_string(&page).unwrap();
    for reference in ["http:", "https:", "src=", "href=", "@import", "url("] {
        let found =
            text.match_indices(reference).map(|(at, _)| &text[at..(at + 60).min(text.len())]);
        // A namespace is a name, not a place.
        let found: Vec<_> = found.filter(|text| !text.starts_with("http://www.w3.org/")).collect();
        assert_eq!(found, [""; 0], "{reference}");
    }
}

#[test]
fn a_picture_is_a_complete_drawing_in_light_and_in_dark() {
    let folder = Folder::new();
    let (light, dark) = (folder.path("light.svg"), folder.path("dark.svg"));
    ran(&["report", "--workload", "overlay-core", "-o", &light]);
    ran(&["report", "--workload", "overlay-core", "-o", &dark, "--dark"]);
    let (light, dark) = (fs::read_to_string(light).unwrap(), fs::read_to_string(dark).unwrap());
    for picture in [&light, &dark] {
        assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
        assert!(picture.contains("a reserved, "));
    }
    assert_ne!(light, dark);
}

#[test]
fn an_output_that_is_neither_page_nor_picture_is_refused_before_anything_runs() {
    assert_refused(&["report", "no such trace.csv", "-o", "report.pdf"], &["report.pdf", ".html"]);
    assert_refused(
        &["report", "no such trace.csv", "-o", "no/such/folder/a.html"],
        &["no/such/folder"],
    );
}
