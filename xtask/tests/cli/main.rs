//! The command line from outside: what it prints, how it ends, what it leaves on disk.

mod stage;

mod errors;
mod interruption;
mod photos;
mod results;
mod sequences;
mod texts;
mod training;
mod weights;
