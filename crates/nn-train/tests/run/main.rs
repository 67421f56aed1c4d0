//! Whole runs of a toy: stopped, killed, resumed, refused.

mod refusals;
mod resume;
mod toy;
