//! Tests across crates live in `tests/tests`; reference data and its maker in `tests/golden`.
