//! Metrics of scenes against scikit-learn's, kept in `tests/golden/segmentation.safetensors`.

use std::path::Path;

use candle_core::{Result, Tensor};
use nn_train::{Evaluation, Measure, Outcome};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/segmentation.safetensors");
const IGNORE: u32 = 255;

#[test]
fn batches_come_to_scikit_learns_figures() -> Result<()> {
    let golden = nn_core::weights::safetensors::read(Path::new(GOLDEN))?;
    let number = |t: &Tensor| t.to_scalar::<f64>();
    let mut evaluation = Evaluation::default();
    for batch in 0..3 {
        let of = |part: &str| &golden[&format!("{batch}.{part}")];
        let outcome = Outcome::segmentation(of("logits"), of("targets"), IGNORE)?;
        let (ours, theirs) = (outcome.loss_value()?, number(of("loss"))?);
        assert!((ours - theirs).abs() < 1e-6 * theirs, "{ours} {theirs}");
        evaluation.add(&outcome)?;
    }
    let matrix: Vec<Vec<i64>> = golden["confusion"].to_vec2()?;
    let ours = &evaluation.confusion().expect("few classes").counts;
    assert_eq!(ours.iter().flatten().map(|&n| n as i64).collect::<Vec<_>>(), matrix.concat());
    let figures = evaluation.figures();
    for measure in [Measure::MeanIou, Measure::Accuracy] {
        let name = measure.key();
        let (ours, theirs) = (figures.get(measure).expect("scenes were evaluated"), number(&golden[name])?);
        assert!((ours - theirs).abs() < 1e-12, "{name}: {ours} {theirs}");
    }
    Ok(())
}
