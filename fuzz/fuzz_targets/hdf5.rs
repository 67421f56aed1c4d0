//! See `nn_fuzz::TARGETS`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nn_fuzz::find("hdf5").run(bytes));
