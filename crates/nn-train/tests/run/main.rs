//! Runs of the loop from beginning to end, on a toy: resumption, refusals, divergence, what ends a run and what it keeps.

mod averaging;
mod ending;
mod frozen;
mod kept;
mod provenance;
mod refusals;
mod resume;
mod toy;
mod trying;
