//! Whole runs of a toy: stopped, killed, resumed, refused.

mod frozen;
mod refusals;
mod resume;
mod toy;
