//! `lvx top`, `lvx status` and `lvx connections` in a terminal, and where there is none.

use crate::office::{Office, SERVICES};
use crate::terminal::Terminal;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

const LVX: &str = env!("CARGO_BIN_EXE_lvx");

fn socket(office: &Office) -> String {
    office.config.control.socket.display().to_string()
}

/// A command of lvx for this office in a terminal of so many columns and rows.
fn in_terminal(office: &Office, words: &[&str], size: (u16, u16)) -> Terminal {
    Terminal::run(&[&[LVX], words].concat(), &[("LVX_SOCKET", &socket(office))], size)
}

/// `lvx top` in a terminal.
fn top(office: &Office) -> Terminal {
    in_terminal(office, &["top", "-d", "0.2"], (80, 24))
}

/// What a command says into a pipe.
fn piped(office: &Office, words: &[&str]) -> Output {
    Command::new(LVX).args(words).env("LVX_SOCKET", socket(office)).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn keys_lead_through_it_and_the_terminal_is_given_back() {
    let office = Office::new();
    office.connect("192.0.2.1:80", "10.0.0.2:8080", 5);
    let mut top = top(&office);
    let screen = top.shows("tcp 192.0.2.1:80 (web)");
    assert!(screen[0].starts_with("lvx 0."), "{screen:?}");
    assert!(screen[5].starts_with("service / server"), "{screen:?}");
    top.press("\x1b[B\x1b[C");
    top.shows("    10.0.0.2:8080");
    top.press("/udp\r");
    top.until("filter", |screen| !screen.iter().any(|line| line.contains("(web)")));
    top.shows("udp 192.0.2.1:53");
    top.press("\x1b");
    top.shows("(web)");
    top.press("2");
    top.shows("for the reason");
    top.press("\t");
    top.shows("packets/s  a batch");
    top.press("?");
    top.shows("this help; quit");
    top.press(" 1p");
    top.shows(" paused");
    assert!(!top.is_as_before());
    top.press("q");
    assert!(top.end().success());
    assert!(top.is_as_before());
}

#[test]
fn signals_give_the_terminal_back_too() {
    let office = Office::new();
    for (signal, name) in [
        (Signal::TERM, "Terminated"),
        (Signal::INT, "Interrupt"),
        (Signal::HUP, "Hangup"),
        (Signal::QUIT, "Quit"),
    ] {
        let mut top = top(&office);
        top.shows("(web)");
        kill_process(Pid::from_raw(top.id()).unwrap(), signal).unwrap();
        let end = top.end();
        assert_eq!(end.signal(), Some(name), "{end:?}");
        assert!(top.is_as_before(), "{name}");
    }
}

#[test]
fn control_z_gives_the_terminal_to_the_shell_until_it_goes_on() {
    let office = Office::new();
    let mut top = top(&office);
    top.shows("(web)");
    top.press("\x1a");
    let stat = format!("/proc/{}/stat", top.id());
    crate::office::eventually("stop", || fs::read_to_string(&stat).unwrap().contains(") T "));
    crate::office::eventually("shell's terminal", || top.is_as_before());
    kill_process(Pid::from_raw(top.id()).unwrap(), Signal::CONT).unwrap();
    crate::office::eventually("screen", || !top.is_as_before());
    top.shows("(web)");
    top.press("\x03");
    assert!(top.end().success());
    assert!(top.is_as_before());
}

/// Run by the test below, in a terminal.
#[test]
#[ignore = "ends the process"]
fn panics_while_it_has_the_terminal() {
    let Ok(_screen) = lvx::cli::top::Screen::open() else { return };
    std::thread::spawn(|| panic!("on purpose")).join().unwrap();
}

#[test]
fn a_panic_gives_the_terminal_back_and_can_be_read() {
    let this = std::env::current_exe().unwrap();
    let argv = [
        this.to_str().unwrap(),
        "--ignored",
        "--exact",
        "--nocapture",
        "top::panics_while_it_has_the_terminal",
    ];
    let mut terminal = Terminal::run(&argv, &[], (80, 24));
    let end = terminal.end();
    assert_eq!(end.exit_code(), 101, "{end:?}");
    assert!(terminal.written().contains("\x1b[?1049h"), "it had the terminal");
    assert!(terminal.is_as_before());
    assert!(terminal.screen().iter().any(|line| line.contains("on purpose")), "{:?}", terminal.screen());
}

#[test]
fn a_director_that_is_not_there_is_waited_for_and_one_that_ends_is_missed() {
    let office = Office::new();
    let dir = tempfile::tempdir().unwrap();
    let alias = dir.path().join("lvx.sock");
    let alias = alias.to_str().unwrap();
    let mut top = Terminal::run(&[LVX, "top", "-d", "0.2", "--socket", alias], &[], (80, 24));
    top.shows("no director is heard at");
    std::os::unix::fs::symlink(socket(&office), alias).unwrap();
    top.shows("(web)");
    drop(office);
    let screen = top.shows("no director is heard at");
    assert!(screen.iter().any(|line| line.contains("(web)")), "what was known stays: {screen:?}");
    let again = Office::with("", &SERVICES.replace("web", "again"));
    fs::remove_file(alias).unwrap();
    std::os::unix::fs::symlink(socket(&again), alias).unwrap();
    top.shows("(again)");
    top.press("q");
    assert!(top.end().success());
}

#[test]
fn it_follows_the_terminals_size() {
    let office = Office::new();
    let mut top = top(&office);
    top.until("p99", |screen| screen[5].ends_with("p99") && screen[5].len() == 82);
    top.resize((130, 10));
    top.until("all columns", |screen| {
        screen.len() == 10 && screen.iter().any(|line| line.contains("out pkt/s"))
    });
    top.resize((30, 6));
    top.until("few columns", |screen| {
        screen.len() == 6 && screen.iter().any(|line| line.contains("conn/s") && !line.contains("bit/s"))
    });
    top.resize((1, 1));
    top.resize((80, 24));
    top.shows("(web)");
    top.press("q");
    assert!(top.end().success());
}

#[test]
fn without_colours_it_says_the_same() {
    let office = Office::new();
    let socket = socket(&office);
    let coloured = |environment: &[(&str, &str)]| {
        let environment = [environment, &[("LVX_SOCKET", &socket[..])]].concat();
        let mut top = Terminal::run(&[LVX, "top", "-d", "0.2"], &environment, (80, 24));
        top.shows("(web)");
        top.press("/10.0\r");
        top.shows("/10.0");
        top.press("q");
        assert!(top.end().success());
        top.written().contains("38;5;3")
    };
    assert!(coloured(&[]));
    assert!(!coloured(&[("NO_COLOR", "1")]));
}

#[test]
fn in_a_pipe_it_is_plain_text_once() {
    let office = Office::new();
    office.connect("192.0.2.1:80", "10.0.0.2:8080", 5);
    let said = text(&piped(&office, &["top", "-d", "0.1", "--sort", "active"]));
    assert!(!said.contains('\x1b'), "{said}");
    let at =
        |text: &str| said.lines().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{said}"));
    assert!(at("tcp 192.0.2.1:80 (web)") < at("10.0.0.2:8080"));
    assert!(at("10.0.0.2:8080") < at("10.0.0.1:8080"), "sorted: {said}");
    assert!(said.lines().nth(2).unwrap().contains("5 of 65536 connections"), "{said}");
    let filtered = text(&piped(&office, &["top", "-d", "0.1", "-n", "2", "--filter", "udp"]));
    assert_eq!(filtered.matches("udp 192.0.2.1:53").count(), 2, "{filtered}");
    assert!(!filtered.contains("web"), "{filtered}");
}

#[test]
fn in_json_it_is_an_object_a_line_until_nobody_reads() {
    let office = Office::new();
    office.connect("192.0.2.1:80", "10.0.0.2:8080", 5);
    let three = text(&piped(&office, &["top", "--json", "-n", "3", "-d", "0.1"]));
    let moments: Vec<Value> = three.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(moments.len(), 3);
    for moment in &moments {
        assert!(moment["seconds"].as_f64().unwrap() >= 0.1);
        assert_eq!(moment["services"][0]["servers"][1]["active"], 5);
        assert_eq!(moment["table"]["current"], 5);
    }
    assert_eq!(text(&piped(&office, &["top", "--json", "--once", "-d", "0.1"])).lines().count(), 1);

    let mut endless = Command::new(LVX)
        .args(["top", "--json", "-d", "0.1"])
        .env("LVX_SOCKET", socket(&office))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(endless.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    }
    drop(lines);
    assert!(endless.wait().unwrap().success());
}

#[test]
fn where_nobody_is_heard_one_look_fails() {
    let output = Command::new(LVX).args(["top", "--once", "--socket", "/nowhere/lvx.sock"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("no director is heard at /nowhere/lvx.sock"));
}

#[test]
fn status_and_connections_are_coloured_and_cut_in_a_terminal_and_plain_and_whole_elsewhere() {
    let office = Office::new();
    office.connect("192.0.2.1:80", "10.0.0.2:8080", 2);
    for (words, wide) in [(vec!["status"], "packets/s in"), (vec!["connections"], "expires")] {
        let plain = text(&piped(&office, &words));
        assert!(!plain.contains('\x1b') && plain.contains(wide), "{plain}");
        let mut terminal = in_terminal(&office, &words, (200, 24));
        assert!(terminal.end().success());
        assert!(terminal.written().contains("\x1b[1m"), "{:?}", terminal.written());
        assert_eq!(terminal.screen()[..plain.lines().count()].join("\n"), plain.trim_end());

        let mut narrow = in_terminal(&office, &words, (50, 24));
        assert!(narrow.end().success());
        let screen = narrow.screen();
        assert!(screen.iter().any(|line| line.contains("10.0.0.2:8080")), "{screen:?}");
        assert!(!screen.iter().any(|line| line.contains(wide)), "{screen:?}");

        let environment = [("LVX_SOCKET", &socket(&office)[..]), ("NO_COLOR", "1")];
        let mut colourless = Terminal::run(&[&[LVX], &words[..]].concat(), &environment, (200, 24));
        assert!(colourless.end().success());
        assert!(!colourless.written().contains('\x1b'), "{:?}", colourless.written());
    }
}

#[test]
fn status_in_json_has_the_services_and_one_connection_or_many_can_be_ended() {
    let office = Office::new();
    office.connect("192.0.2.1:80", "10.0.0.2:8080", 5);
    let status: Value = serde_json::from_str(&text(&piped(&office, &["status", "--json"]))).unwrap();
    assert_eq!(status["director"]["connections"], 5);
    assert_eq!(status["services"][0]["servers"][1]["active"], 5);
    let kill = |words: &[&str]| text(&piped(&office, &[&["connections", "--kill"], words].concat()));
    assert_eq!(kill(&["--client", "203.0.113.145:1024"]), "1 connection ended\n");
    assert_eq!(kill(&["--server", "10.0.0.0/29", "--state", "syn_recv", "--json"]), "{\n  \"ended\": 4\n}\n");
    assert_eq!(text(&piped(&office, &["connections", "--json"])), "[]\n");
    let all = piped(&office, &["connections", "--kill"]);
    assert_eq!(all.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&all.stderr).starts_with("say which connections"));
}
