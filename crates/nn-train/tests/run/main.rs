//! Runs of the loop from beginning to end, on a toy: resumption, refusals, divergence, what ends a run and what it
//! keeps, ranks.

mod audit;
mod averaging;
mod ending;
mod frozen;
mod kept;
mod plateau;
mod provenance;
mod ranks;
mod refusals;
mod resume;
mod synchronised;
mod toy;
mod trying;
