//! The command line of ipvsadm before a running director.

use crate::office::Office;
use lvx::control::api::Transaction;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Through a link of ipvsadm's name.
fn run(office: &Office, words: &str, stdin: &str) -> Run {
    let link = office.dir.path().join("ipvsadm");
    if !link.exists() {
        symlink(env!("CARGO_BIN_EXE_lvx"), &link).unwrap();
    }
    run_as(&link, office, words.split_whitespace(), stdin)
}

fn run_as<'w>(program: &Path, office: &Office, words: impl Iterator<Item = &'w str>, stdin: &str) -> Run {
    let mut child = Command::new(program)
        .args(words)
        .env("LVX_SOCKET", office.dir.path().join("lvx.sock"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn good(office: &Office, words: &str) -> String {
    let run = run(office, words, "");
    assert_eq!((run.code, &run.stderr[..]), (Some(0), ""), "ipvsadm {words}");
    run.stdout
}

fn refused(office: &Office, words: &str, says: &str) {
    let run = run(office, words, "");
    assert_eq!(
        (run.code, &run.stderr[..], &run.stdout[..]),
        (Some(255), &format!("{says}\n")[..], ""),
        "ipvsadm {words}"
    );
}

#[test]
fn a_drained_server_is_listed_with_weight_0_and_saved_as_it_was_written() {
    let office = Office::new();
    let saved = good(&office, "-S -n");
    let drain = r#"[{ "edit": "drain", "server": "10.0.0.2" }]"#;
    let edits = serde_json::from_str(drain).unwrap();
    office.client.edit(&Transaction { edits, ..Transaction::default() }).unwrap();
    let listed = good(&office, "-Ln");
    assert!(listed.contains("-> 10.0.0.2:8080                Masq    0 "), "{listed}");
    assert!(listed.contains("-> 10.0.0.1:8080                Masq    1 "), "{listed}");
    assert_eq!(good(&office, "-S -n"), saved);
}

#[test]
fn services_and_servers_are_added_edited_listed_and_deleted() {
    let office = Office::new();
    for words in [
        "-C",
        "-A -t 192.0.2.1:80 -s wlc -p 600 -M 255.255.255.0",
        "-a -t 192.0.2.1:80 -r 10.0.0.11:8080 -m -w 3 -x 100 -y 80",
        "-a -t 192.0.2.1:80 -r 10.0.0.12 -g",
        "-a -t 192.0.2.1:80 -r 10.0.0.13 -i -w 0",
        "-A -u 192.0.2.1:53 -o",
        "-A -t [2001:db8::1]:443 -s sh -b sh-port,sh-fallback",
        "-a -t [2001:db8::1]:443 -r [2001:db8::11]:8443 -m",
        "-A -t 192.0.2.9:0 -p",
        "-e -t 192.0.2.1:80 -r 10.0.0.12 -g -w 7",
    ] {
        assert_eq!(good(&office, words), "", "ipvsadm {words}");
    }
    assert_eq!(
        good(&office, "-Ln"),
        "IP Virtual Server version 1.2.1 (size=65536)\n\
         Prot LocalAddress:Port Scheduler Flags\n\
         \x20 -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n\
         TCP  192.0.2.1:80 wlc persistent 600 mask 255.255.255.0\n\
         \x20 -> 10.0.0.11:8080               Masq    3      0          0         \n\
         \x20 -> 10.0.0.12:80                 Route   7      0          0         \n\
         \x20 -> 10.0.0.13:80                 Tunnel  0      0          0         \n\
         TCP  192.0.2.9:0 wlc persistent 360\n\
         UDP  192.0.2.1:53 wlc ops\n\
         TCP  [2001:db8::1]:443 sh (sh-fallback,sh-port)\n\
         \x20 -> [2001:db8::11]:8443          Masq    1      0          0         \n"
    );
    assert_eq!(
        good(&office, "-Ln -t 192.0.2.1:80 --thresholds").lines().nth(3),
        Some("  -> 10.0.0.11:8080               100        80         0          0         ")
    );
    let saved = good(&office, "-Sn");
    good(&office, "-C");
    assert_eq!(good(&office, "-Sn"), "");
    let restored = run(&office, "-R", &saved);
    assert_eq!((restored.code, &restored.stderr[..]), (Some(0), ""));
    assert_eq!(good(&office, "-Sn"), saved, "what was saved is restored");

    good(&office, "-E -t 192.0.2.1:80 -s rr");
    assert_eq!(good(&office, "-Ln -t 192.0.2.1:80").lines().nth(2), Some("TCP  192.0.2.1:80 rr"));
    good(&office, "-d -t 192.0.2.1:80 -r 10.0.0.12:80");
    good(&office, "-D -u 192.0.2.1:53");
    good(&office, "-Z");
    assert_eq!(good(&office, "-Ln --stats").lines().count(), 9);
    assert_eq!(good(&office, "-Ln --rate").lines().count(), 9);
}

#[test]
fn what_is_not_there_or_there_already_is_said_as_ipvsadm_says_it() {
    let office = Office::new();
    for (words, says) in [
        ("-A -t 192.0.2.1:80", "Service already exists"),
        ("-A -t 192.0.2.1:81 -s nosuch", "Scheduler or persistence engine not found"),
        ("-E -t 192.0.2.7:80", "No such service"),
        ("-D -t 192.0.2.7:80", "No such service"),
        ("-L -t 192.0.2.7:80", "No such service"),
        ("-Z -t 192.0.2.7:80", "No such service"),
        ("-a -t 192.0.2.7:80 -r 10.0.0.1", "Service not defined"),
        ("-a -t 192.0.2.1:80 -r 10.0.0.1:8080 -m", "Destination already exists"),
        ("-e -t 192.0.2.1:80 -r 10.0.0.9:8080 -m", "No such destination"),
        ("-d -t 192.0.2.1:80 -r 10.0.0.9:8080", "No such destination"),
        ("-A -t 192.0.2.1:81 --pe sip", "lvx has no persistence engines (--pe)"),
        ("--start-daemon master", "this lvx has no sync daemon: connections are not synchronised yet"),
    ] {
        refused(&office, words, says);
    }
    let before = good(&office, "-Sn");
    let wrong = run(&office, "-A -t 192.0.2.1:0", "");
    assert_eq!(
        (wrong.code, &wrong.stderr[..]),
        (Some(2), "Zero port specified for non-persistent service\n")
    );
    assert_eq!(good(&office, "-Sn"), before);
}

#[test]
fn rules_that_cannot_all_be_restored_are_restored_as_far_as_they_can() {
    let office = Office::new();
    let rules = "-A -t 192.0.2.1:80 -s rr\n-A -t 192.0.2.3:80 -s rr\n-A -t nonsense:x\n-A -t 192.0.2.4:80\n";
    let restored = run(&office, "-R", rules);
    assert_eq!(restored.code, Some(2));
    let said: Vec<&str> = restored.stderr.lines().collect();
    assert_eq!(said[..2], ["Service already exists", "illegal virtual server address[:port] specified"]);
    assert!(said[2].ends_with("that was line 3 of the rules"), "{said:?}");
    assert!(good(&office, "-Sn").contains("-A -t 192.0.2.3:80 -s rr\n"));
    assert!(!good(&office, "-Sn").contains("192.0.2.4"));
}

#[test]
fn timeouts_are_set_and_connections_listed() {
    let office = Office::new();
    assert_eq!(good(&office, "-L --timeout"), "Timeout (tcp tcpfin udp): 900 120 300\n");
    good(&office, "--set 60 0 30");
    assert_eq!(good(&office, "-L --timeout"), "Timeout (tcp tcpfin udp): 60 120 30\n");
    assert_eq!(good(&office, "-L --daemon"), "");
    office.connect("192.0.2.1:80", "10.0.0.2:8080", 3);
    let listed = good(&office, "-Lnc");
    assert_eq!(listed.lines().count(), 5, "{listed}");
    assert!(
        listed.lines().skip(2).all(|line| line.starts_with("TCP ") && line.ends_with(" 10.0.0.2:8080")),
        "{listed}"
    );
}

#[test]
fn it_is_also_a_command_of_lvx_and_says_so_when_nobody_listens() {
    let office = Office::new();
    let lvx = Path::new(env!("CARGO_BIN_EXE_lvx"));
    let listed = run_as(lvx, &office, ["ipvsadm", "-Ln"].into_iter(), "");
    assert_eq!((listed.code, listed.stdout), (Some(0), good(&office, "-Ln")));
    assert_eq!(listed.stderr, "");
    let lost = run_as(lvx, &office, ["ipvsadm"].into_iter(), "");
    assert_eq!(lost.code, Some(0), "without words, it lists");
    let dir = office.dir.path().join("lvx.sock");
    drop(office);
    let output = Command::new(lvx).args(["ipvsadm", "-Ln"]).env("LVX_SOCKET", &dir).output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("no director is heard at "));
}
