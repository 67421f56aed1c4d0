//! Throw-away.
use nn_train::data::{Dataset, Part, digits};
use std::io::Write;
fn main() {
    let t = std::time::Instant::now();
    let (a, b) = (digits(0, Part::Train), digits(0, Part::Test));
    eprintln!("{:?}", t.elapsed());
    for (s, n) in [(a, "train"), (b, "test")] {
        let mut f = std::fs::File::create(format!("/tmp/digits-{n}.bin")).unwrap();
        for i in 0..s.len() {
            f.write_all(s.pixels(i).unwrap()).unwrap();
        }
        std::fs::write(
            format!("/tmp/digits-{n}.lab"),
            s.labels().iter().map(|&l| l as u8).collect::<Vec<_>>(),
        )
        .unwrap();
    }
}
