//! A training toolkit that knows no model: data, optimisers, schedules, the loop, checkpoints, reports.

pub mod data;
