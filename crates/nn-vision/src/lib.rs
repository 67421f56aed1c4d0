//! The classic vision networks, one family a file.

pub mod preprocess;
