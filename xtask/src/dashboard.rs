//! The dashboard: a terminal's whole screen while a run trains, drawn by a thread of its own.
//!
//! Training writes down what happens, which takes a microsecond; eight times a second the thread copies that and draws. It
//! also hears the keyboard, because a terminal that does not show what is typed does not turn Ctrl-C into a signal either.

mod board;
mod curve;
mod view;

use std::fs;
use std::io::{IsTerminal, Stderr, stderr, stdin, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nn_train::Event;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};

pub(crate) use board::Board;

use crate::output;

/// From one drawing to the next.
const PACE: Duration = Duration::from_millis(125);

/// A run on the screen, until it is dropped or ended.
pub(crate) struct Dashboard {
    board: Arc<Mutex<Board>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Whether there is a terminal to draw on: a large one, with nothing piped, and this program in its foreground.
pub(crate) fn is_possible() -> bool {
    let (width, height) = view::LEAST;
    let terminals = stdin().is_terminal() && stdout().is_terminal() && stderr().is_terminal();
    let clever = std::env::var("TERM").is_ok_and(|term| !term.is_empty() && term != "dumb");
    terminals && clever && in_foreground() && size().is_ok_and(|(w, h)| w >= width && h >= height)
}

/// A program that is in the background and changes how the terminal works is stopped.
#[cfg(unix)]
fn in_foreground() -> bool {
    rustix::termios::tcgetpgrp(stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

#[cfg(not(unix))]
fn in_foreground() -> bool {
    true
}

impl Dashboard {
    /// Takes the screen. `interrupt` is called at Ctrl-C.
    ///
    /// # Errors
    /// If the terminal refuses; it is then as it was.
    pub(crate) fn open(board: Board, interrupt: fn()) -> Result<Self> {
        let terminal = take_screen().inspect_err(|_| restore()).context("cannot draw on the terminal")?;
        let (board, over) = (Arc::new(Mutex::new(board)), Arc::new(AtomicBool::new(false)));
        let notes = Arc::clone(&board);
        output::divert(Some(Box::new(move |note| lock(&notes).say(note.trim().to_owned()))));
        let (seen, ends) = (Arc::clone(&board), Arc::clone(&over));
        let work = move || show(terminal, &seen, &ends, interrupt);
        let thread = thread::Builder::new().name("dashboard".to_owned()).spawn(work);
        let thread = thread.inspect_err(|_| give_back()).context("cannot start the dashboard's thread")?;
        Ok(Self { board, over, thread: Some(thread) })
    }

    /// Writes down what happened.
    pub(crate) fn hear(&self, event: &Event) {
        lock(&self.board).hear(event);
    }
}

impl Drop for Dashboard {
    /// Gives the screen back.
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
        give_back();
    }
}

fn lock(board: &Mutex<Board>) -> std::sync::MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the terminal is ours.
static TAKEN: AtomicBool = AtomicBool::new(false);

fn take_screen() -> std::io::Result<Terminal<CrosstermBackend<Stderr>>> {
    // What a panic says must be readable: the screen is left before it speaks.
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
        }));
    });
    TAKEN.store(true, Ordering::Relaxed);
    enable_raw_mode()?;
    execute!(stderr(), EnterAlternateScreen)?;
    let mut terminal = Terminal::new(CrosstermBackend::new(stderr()))?;
    terminal.clear()?;
    Ok(terminal)
}

/// Makes the terminal what it was, if it is not; whoever ends the program calls this first.
pub(crate) fn restore() {
    if TAKEN.swap(false, Ordering::Relaxed) {
        // There is nothing else to try.
        let _ = execute!(stderr(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

fn give_back() {
    restore();
    output::divert(None);
}

/// Draws until it is over.
fn show(
    mut terminal: Terminal<CrosstermBackend<Stderr>>,
    board: &Mutex<Board>,
    over: &AtomicBool,
    interrupt: fn(),
) {
    while !over.load(Ordering::Relaxed) && TAKEN.load(Ordering::Relaxed) {
        let mut seen = lock(board).clone();
        seen.memory = resident();
        // A terminal that is gone must not end a run.
        let _ = terminal.draw(|frame| view::draw(frame, &seen));
        listen(interrupt);
    }
}

/// Waits until it is time to draw again, for a key or a change of size.
fn listen(interrupt: fn()) {
    match event::poll(PACE) {
        Ok(true) => match event::read() {
            Ok(event::Event::Key(key)) if is_interrupt(key) => interrupt(),
            Ok(_) | Err(_) => {}
        },
        Ok(false) => {}
        Err(_) => thread::sleep(PACE),
    }
}

fn is_interrupt(key: KeyEvent) -> bool {
    key.is_press() && key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL)
}

/// Bytes of memory the process holds, where the system tells: on Linux.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}
