//! The terminal while it is ours; it is given back as it was, whichever way this ends.

use super::model::Model;
use super::view::draw;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::{Position, Rect};
use signal_hook::consts::SIGTSTP;
use signal_hook::low_level::emulate_default_handler;
use std::io::{self, Stdout, stdout};
use std::panic;

/// The terminal, given back when this is dropped.
#[derive(Debug)]
pub struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    /// Takes the terminal. From here on a panic on any thread gives it back, tells, and ends the process.
    ///
    /// # Errors
    /// There is no terminal, or it will not do.
    pub fn open() -> io::Result<Screen> {
        let terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            leave();
            tell(panic);
            std::process::exit(101);
        }));
        // From before the first change on, so that it is taken back if the second fails.
        let screen = Screen(terminal);
        enter()?;
        Ok(screen)
    }

    /// Draws the model.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn draw(&mut self, model: &mut Model) -> io::Result<()> {
        self.0.draw(|frame| draw(model, frame)).map(drop)
    }

    /// Takes the terminal again, and draws all of it the next time, whatever it shows.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn again(&mut self) -> io::Result<()> {
        // What the shell made of it meanwhile is not ours.
        leave();
        enter()?;
        // `clear` would ask the terminal for its cursor, and the answer is taken for a key.
        let size = self.0.size()?;
        self.0.resize(Rect::from((Position::ORIGIN, size)))
    }

    /// Stops this process, as control-Z does; the terminal is the shell's until it goes on.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn suspend(&mut self) -> io::Result<()> {
        leave();
        emulate_default_handler(SIGTSTP)?;
        self.again()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen, Hide)
}

fn leave() {
    // Both, whatever becomes of the other; a terminal that is gone needs neither.
    let _ = execute!(stdout(), Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}
