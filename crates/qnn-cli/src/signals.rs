//! Signals that ask to stop. They are noted only: whoever trains looks between two steps, saves and ends.

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result};
use signal_hook::consts;
use signal_hook::flag;

pub const SIGINT: i32 = consts::SIGINT;
pub const SIGTERM: i32 = consts::SIGTERM;
/// Only where there are terminals to be closed is it ever received.
pub const SIGHUP: i32 = 1;

/// The signal that has come, 0 before.
static RECEIVED: AtomicUsize = AtomicUsize::new(0);
/// Whether Ctrl-C ends the program at once: the second one does.
static IMPATIENT: AtomicBool = AtomicBool::new(false);

/// From now on a signal no longer ends the program; [`received`] tells of it.
pub fn watch() -> Result<()> {
    let all = [
        SIGINT,
        SIGTERM,
        #[cfg(unix)]
        SIGHUP,
    ];
    let watch = || {
        // In this order: the first Ctrl-C arms what the second sets off.
        flag::register_conditional_shutdown(SIGINT, 128 + SIGINT, &IMPATIENT)?;
        flag::register(SIGINT, &IMPATIENT)?;
        for signal in all {
            flag::register_usize(signal, &RECEIVED, signal as usize)?;
        }
        Ok::<(), std::io::Error>(())
    };
    watch().context("Signals cannot be watched for.")
}

/// The signal that asked to stop, if one did.
pub fn received() -> Option<i32> {
    match RECEIVED.load(Ordering::SeqCst) {
        0 => None,
        signal => Some(signal as i32),
    }
}

/// Takes the end of standard input for a request to terminate: the process at its other end is gone, or wants so.
pub fn terminate_when_input_ends() {
    thread::spawn(|| {
        let mut bytes = [0; 64];
        let mut input = std::io::stdin().lock();
        while input.read(&mut bytes).is_ok_and(|count| count > 0) {}
        RECEIVED.store(SIGTERM as usize, Ordering::SeqCst);
    });
}
