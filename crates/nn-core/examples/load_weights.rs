//! How long a file of weights takes to be ready: opened, compared with a model of its names, and read into it.
//!
//! `cargo run --release -p nn-core --example load_weights -- FILE [TIMES]`

use std::time::Instant;

use nn_core::ParamStore;
use nn_core::candle_core::{DType, Device, Result, bail};
use nn_core::candle_nn::init::ZERO;
use nn_core::weights::WeightFile;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let Some(path) = args.next() else { bail!("which FILE?") };
    let times = args.next().and_then(|times| times.parse().ok()).unwrap_or(5);
    for _ in 0..times {
        let start = Instant::now();
        let file = WeightFile::open(&path)?;
        let opened = start.elapsed();
        let store = ParamStore::blank();
        let vb = store.vb(DType::F32, &Device::Cpu);
        for (name, info) in file.tensors() {
            vb.get_with_hints(info.shape, name, ZERO)?;
        }
        store.load_file(&file)?;
        let ready = start.elapsed();
        let bytes: usize = store.tensors().values().map(|t| 4 * t.elem_count()).sum();
        let [opened, ready] = [opened, ready].map(|time| time.as_secs_f64() * 1e3);
        println!("{:.1} MB opened after {opened:.1} ms, ready after {ready:.1} ms", bytes as f64 / 1e6);
    }
    Ok(())
}
