//! How `qnn` ends: the endings that have an exit code of their own. What went wrong is said in words by whoever noticed; a
//! program that calls `qnn` goes by the code.

use anyhow::Error;
use qnn_core::train::Diverged;
use qnn_gpu::TrainingError;

use crate::signals::{SIGHUP, SIGINT, SIGTERM};

/// For the end of `qnn --help`.
pub const CODES: &str = "\
Exit codes:
    0  done
    1  it could not be done: a file, the data, the machine
    2  wrong arguments
    3  training diverged
    4  incomplete: jobs of a sweep or results of a report are missing
  130  interrupted (Ctrl-C; 143 where asked to terminate, 129 where the terminal was closed); what was to be saved is";

/// An ending that is told apart by its exit code.
#[derive(Debug, thiserror::Error)]
pub enum Ending {
    /// Training came upon what is not a number, or went nowhere.
    #[error("{0}")]
    Diverged(String),
    /// Something is missing; what is there has been written.
    #[error("{0}")]
    Incomplete(String),
    /// A signal asked to stop, and what was to be saved is saved.
    #[error("{message}")]
    Interrupted { signal: i32, message: String },
}

/// Says on standard error why a command ended.
pub fn tell(error: &Error) {
    match error.downcast_ref() {
        // Nothing is wrong.
        Some(Ending::Interrupted { message, .. }) => eprintln!("{message}"),
        _ => eprintln!("Error: {error:?}"),
    }
}

/// The exit code of a command that ended with `error`.
pub fn code(error: &Error) -> u8 {
    match error.downcast_ref::<Ending>() {
        Some(Ending::Diverged(_)) => 3,
        Some(Ending::Incomplete(_)) => 4,
        Some(Ending::Interrupted { signal, .. }) => match *signal {
            SIGINT => 130,
            SIGTERM => 143,
            SIGHUP => 129,
            _ => 1,
        },
        None if is_divergence(error) => 3,
        None => 1,
    }
}

/// Whether the error says that training diverged.
pub fn is_divergence(error: &Error) -> bool {
    matches!(error.downcast_ref(), Some(Ending::Diverged(_)))
        || matches!(error.downcast_ref(), Some(TrainingError::Diverged(_)))
        || error.is::<Diverged>()
}
