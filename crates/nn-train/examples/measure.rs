//! Throw-away.
use nn_train::data::*;
use std::{path::Path, sync::Arc, time::Instant};
fn main() {
    let d = Path::new("/work/shared/data");
    for _ in 0..5 {
        let t = Instant::now();
        let s = mnist::load(&mnist::MNIST, d, Part::Train).unwrap();
        eprintln!("mnist {:?} {}", t.elapsed(), s.len());
    }
    for _ in 0..5 {
        let t = Instant::now();
        let a = digits(0, Part::Train);
        let b = digits(0, Part::Test);
        eprintln!("digits {:?} {}", t.elapsed(), a.len() + b.len());
    }
    let s = Arc::new(mnist::load(&mnist::MNIST, d, Part::Train).unwrap());
    let l = Loader::new(
        s.clone(),
        LoaderConfig { batch_size: 64, order: Order::Shuffled, prefetch: 2 },
        nn_core::Random::new(0),
    )
    .unwrap();
    for e in 0..4 {
        let t = Instant::now();
        let n = l.epoch(e).count();
        eprintln!("epoch {:?} per batch {:?}", t.elapsed(), t.elapsed() / n as u32);
    }
    let o = l.order(0);
    let t = Instant::now();
    let n = o.chunks(64).map(|c| s.batch(c, nn_core::Random::new(0)).unwrap()).count();
    eprintln!("batch() alone {:?}", t.elapsed() / n as u32);
    let t = Instant::now();
    for i in 0..20 {
        l.order(i);
    }
    eprintln!("order {:?}", t.elapsed() / 20);
    let t = Instant::now();
    let first = l.epoch(0).next().unwrap();
    eprintln!("first {:?} {}", t.elapsed(), first.is_ok());
    // busy consumer: time waiting
    let mut wait = std::time::Duration::ZERO;
    let mut it = l.epoch(1);
    let mut n = 0;
    loop {
        let t = Instant::now();
        let b = it.next();
        wait += t.elapsed();
        if b.is_none() || n > 300 {
            break;
        }
        n += 1;
        let t = Instant::now();
        while t.elapsed().as_micros() < 1000 {}
    }
    eprintln!("waiting per batch at 1 ms steps {:?}", wait / n);
}
