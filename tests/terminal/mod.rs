//! A terminal with a program in it: keys in, a screen out.

#![allow(dead_code, reason = "not every test needs all of it")]

use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long something may take that takes moments on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the program has written, and what that shows.
struct Shown {
    bytes: Vec<u8>,
    parser: vt100::Parser,
}

pub struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    shown: Arc<Mutex<Shown>>,
    reader: Option<JoinHandle<()>>,
    flags: String,
}

fn size((columns, rows): (u16, u16)) -> PtySize {
    PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }
}

fn parser((columns, rows): (u16, u16)) -> vt100::Parser {
    vt100::Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), 0)
}

impl Terminal {
    /// Runs a program with this environment beside its own, in so many columns and rows.
    pub fn run(argv: &[&str], environment: &[(&str, &str)], wanted: (u16, u16)) -> Terminal {
        let pair = native_pty_system().openpty(size(wanted)).unwrap();
        let mut command = CommandBuilder::new(argv[0]);
        command.args(&argv[1..]);
        command.env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR");
        environment.iter().for_each(|(name, value)| command.env(name, value));
        let flags = flags(&*pair.master);
        let child = pair.slave.spawn_command(command).unwrap();
        let shown = Arc::new(Mutex::new(Shown { bytes: Vec::new(), parser: parser(wanted) }));
        let (mut from, to) = (pair.master.try_clone_reader().unwrap(), shown.clone());
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // With the last program the terminal ends.
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                let mut shown = to.lock().unwrap();
                shown.bytes.extend(&buffer[..count]);
                shown.parser.process(&buffer[..count]);
            }
        });
        let keys = pair.master.take_writer().unwrap();
        Terminal { child, master: pair.master, keys, shown, reader: Some(reader), flags }
    }

    /// Presses these keys, as a terminal sends them.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// The lines of the screen.
    pub fn screen(&self) -> Vec<String> {
        let shown = self.shown.lock().unwrap();
        let screen = shown.parser.screen();
        screen.rows(0, screen.size().1.get()).map(|line| line.trim_end().to_owned()).collect()
    }

    /// Waits for a screen that is like this.
    pub fn until(&self, what: &str, is_it: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if is_it(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "no {what}:\n{}", screen.join("\n"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for a screen that has this somewhere.
    pub fn shows(&self, text: &str) -> Vec<String> {
        self.until(text, |screen| screen.iter().any(|line| line.contains(text)))
    }

    /// Everything the program has written.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap().bytes).into_owned()
    }

    pub fn resize(&mut self, to: (u16, u16)) {
        let mut shown = self.shown.lock().unwrap();
        shown.parser = parser(to);
        self.master.resize(size(to)).unwrap();
    }

    pub fn id(&self) -> i32 {
        self.child.process_id().unwrap() as i32
    }

    /// Whether the terminal is as it was before the program: lines, echo, the cursor, what stood there.
    pub fn is_as_before(&self) -> bool {
        let shown = self.shown.lock().unwrap();
        let screen = shown.parser.screen();
        !screen.alternate_screen() && !screen.hide_cursor() && flags(&*self.master) == self.flags
    }

    /// Waits for the program's end.
    pub fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                if let Some(reader) = self.reader.take() {
                    reader.join().unwrap();
                }
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.screen().join("\n"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How the terminal treats what is typed and printed.
fn flags(master: &dyn MasterPty) -> String {
    let termios = master.get_termios().unwrap();
    format!("{:?} {:?} {:?}", termios.input_flags, termios.output_flags, termios.local_flags)
}
