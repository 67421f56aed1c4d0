//! Windows over a time series: a stretch of the past, and what came after it.

use std::ops::Range;

use candle_core::{Device, Result, Tensor};
use nn_core::{Random, ensure};
use serde::{Deserialize, Serialize};

use super::Dataset;

/// Mean and standard deviation of a column, fitted on its training part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// Becomes 0.
    pub mean: f64,
    /// Becomes 1.
    pub std: f64,
}

impl Scale {
    /// Of values that a model is trained on; those of a constant column are only shifted.
    ///
    /// # Errors
    /// If there are none, or they are too large for their squares to be summed.
    pub fn fit(values: &[f64]) -> Result<Self> {
        let Some(&first) = values.first() else {
            candle_core::bail!("Scale: there must be a value to fit it to")
        };
        // The mean of equal values is off by a rounding error, and would have a deviation as small.
        if values.iter().all(|&value| value == first) {
            return Ok(Self { mean: first, std: 1.0 });
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        ensure!(variance.is_finite(), "Scale: the values are too large: their variance is {variance}");
        Ok(Self { mean, std: if variance > 0.0 { variance.sqrt() } else { 1.0 } })
    }

    /// `(x − mean) / std`
    pub fn apply(&self, value: f64) -> f64 {
        (value - self.mean) / self.std
    }

    /// `x · std + mean`
    pub fn undo(&self, value: f64) -> f64 {
        value * self.std + self.mean
    }
}

/// Sizes of [`Windows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowConfig {
    /// Steps of the past.
    pub length: usize,
    /// Steps to foretell.
    pub horizon: usize,
    /// Steps from one window to the next.
    pub stride: usize,
}

impl Default for WindowConfig {
    /// A dozen steps for the next one.
    fn default() -> Self {
        Self { length: 12, horizon: 1, stride: 1 }
    }
}

/// The first `fraction` of so many steps to learn from, and the rest to be tested on: a series is never shuffled.
///
/// # Errors
/// If the fraction is not in (0, 1), or leaves one of them without a step.
pub fn chronological(steps: usize, fraction: f64) -> Result<[Range<usize>; 2]> {
    ensure!(
        fraction > 0.0 && fraction < 1.0,
        "chronological: the fraction must be in (0, 1), got {fraction}"
    );
    let first = (steps as f64 * fraction).round() as usize;
    ensure!(first > 0 && first < steps, "chronological: {steps} steps cannot be split at {fraction}");
    Ok([0..first, first..steps])
}

/// Windows whose foretold steps lie in one part of a series; the past before them may reach into the part before.
#[derive(Clone, Debug)]
pub struct Windows {
    /// Step by step, the columns of each; scaled.
    steps: Vec<f32>,
    columns: usize,
    /// The column to foretell, as it was.
    target: Vec<f64>,
    /// Which that is.
    index: usize,
    scale: Scale,
    /// The first foretold step of each window.
    starts: Vec<usize>,
    cfg: WindowConfig,
}

/// A batch of [`Windows`], scaled.
#[derive(Clone, Debug)]
pub struct WindowBatch {
    /// `[B, length, columns]`
    pub inputs: Tensor,
    /// `[B, 1]`, the last known value of the column to foretell.
    pub last: Tensor,
    /// `[B, horizon]`
    pub targets: Tensor,
}

impl Windows {
    /// Of `columns`, each with its scale, all those windows whose foretold steps of column `target` lie in `part`.
    ///
    /// # Errors
    /// If a size is 0, columns differ in length, there is not one scale a column or no column `target`, the part reaches
    /// beyond the series, or no window fits into it.
    pub fn new(
        columns: &[Vec<f64>],
        scales: &[Scale],
        target: usize,
        part: Range<usize>,
        cfg: WindowConfig,
    ) -> Result<Self> {
        let WindowConfig { length, horizon, stride } = cfg;
        ensure!(
            length > 0 && horizon > 0 && stride > 0,
            "Windows: length, horizon and stride must be 1 or more"
        );
        let count = columns.len();
        ensure!(scales.len() == count, "Windows: one scale a column, {count}, got {}", scales.len());
        ensure!(target < count, "Windows: there are {count} columns, got {target} as the one to foretell");
        let all = columns[target].len();
        let uneven = columns.iter().find(|column| column.len() != all);
        ensure!(uneven.is_none(), "Windows: columns of {all} and {} steps", uneven.map_or(0, Vec::len));
        ensure!(part.end <= all, "Windows: there are {all} steps, got the part {part:?}");
        // Sizes of recipes may be anything.
        let last = part.end.checked_sub(horizon);
        let starts: Vec<usize> =
            last.map_or(Vec::new(), |last| (part.start.max(length)..=last).step_by(stride).collect());
        ensure!(
            !starts.is_empty(),
            "Windows: no window of {length} + {horizon} steps fits into the steps {part:?}"
        );
        let scaled = |step: usize| columns.iter().zip(scales).map(move |(c, s)| s.apply(c[step]) as f32);
        Ok(Self {
            steps: (0..all).flat_map(scaled).collect(),
            columns: count,
            target: columns[target].clone(),
            index: target,
            scale: scales[target],
            starts,
            cfg,
        })
    }

    /// Their sizes.
    pub fn config(&self) -> WindowConfig {
        self.cfg
    }

    /// The scale of the column to foretell.
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// The past of a window in the column to foretell, and what came, as they were.
    pub fn window(&self, index: usize) -> Option<(&[f64], &[f64])> {
        let start = *self.starts.get(index)?;
        let WindowConfig { length, horizon, .. } = self.cfg;
        Some((&self.target[start - length..start], &self.target[start..start + horizon]))
    }

    /// The forecast of a window for which a season repeats itself: for each step ahead the last known value of the same
    /// step of a season, of one step the last value. `None` where the series does not reach back so far.
    pub fn naive(&self, index: usize, season: usize) -> Option<Vec<f64>> {
        let start = *self.starts.get(index)?;
        let from = start.checked_sub(season).filter(|_| season > 0)?;
        Some((0..self.cfg.horizon).map(|ahead| self.target[from + ahead % season]).collect())
    }
}

impl Dataset for Windows {
    type Batch = WindowBatch;

    fn len(&self) -> usize {
        self.starts.len()
    }

    fn batch(&self, indices: &[usize], _random: Random) -> Result<WindowBatch> {
        let WindowConfig { length, horizon, .. } = self.cfg;
        let columns = self.columns;
        let (mut inputs, mut last, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        let target = |step: usize| self.steps[step * columns + self.index];
        for &index in indices {
            ensure!(index < self.len(), "Windows: there are {}, got index {index}", self.len());
            let start = self.starts[index];
            inputs.extend_from_slice(&self.steps[(start - length) * columns..start * columns]);
            last.push(target(start - 1));
            targets.extend((start..start + horizon).map(target));
        }
        let batch = indices.len();
        Ok(WindowBatch {
            inputs: Tensor::from_vec(inputs, (batch, length, columns), &Device::Cpu)?,
            last: Tensor::from_vec(last, (batch, 1), &Device::Cpu)?,
            targets: Tensor::from_vec(targets, (batch, horizon), &Device::Cpu)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: Scale = Scale { mean: 0.0, std: 1.0 };

    fn counting(part: Range<usize>, cfg: WindowConfig) -> Result<Windows> {
        let numbers = |by: f64| (0..10).map(|n| by * f64::from(n)).collect::<Vec<_>>();
        Windows::new(&[numbers(100.0), numbers(1.0)], &[UNIT, Scale { mean: 1.0, std: 2.0 }], 1, part, cfg)
    }

    #[test]
    fn the_past_goes_in_and_what_came_comes_out() -> Result<()> {
        let windows = counting(0..10, WindowConfig { length: 2, horizon: 3, stride: 2 })?;
        assert_eq!(windows.len(), 3); // from steps 2, 4, 6
        assert_eq!(windows.window(1), Some((&[2.0, 3.0][..], &[4.0, 5.0, 6.0][..])));
        let batch = windows.batch(&[1, 0], Random::new(0))?;
        assert_eq!(batch.inputs.to_vec3::<f32>()?[0], [[200.0, 0.5], [300.0, 1.0]]);
        assert_eq!(batch.last.to_vec2::<f32>()?, [[1.0], [0.0]]);
        assert_eq!(batch.targets.to_vec2::<f32>()?, [[1.5, 2.0, 2.5], [0.5, 1.0, 1.5]]);
        assert_eq!(windows.naive(1, 1), Some(vec![3.0; 3]));
        assert_eq!(windows.naive(1, 2), Some(vec![2.0, 3.0, 2.0]));
        assert_eq!((windows.naive(0, 3), windows.naive(0, 0), windows.naive(9, 1)), (None, None, None));
        Ok(())
    }

    #[test]
    fn a_part_is_foretold_from_the_one_before() -> Result<()> {
        let [train, test] = chronological(10, 0.7)?;
        let cfg = WindowConfig { length: 4, ..WindowConfig::default() };
        let [train, test] = [counting(train, cfg)?, counting(test, cfg)?];
        let foretold = |windows: &Windows| -> Vec<f64> {
            (0..windows.len()).filter_map(|n| windows.window(n)).flat_map(|(_, came)| came.to_vec()).collect()
        };
        assert_eq!((foretold(&train), foretold(&test)), (vec![4.0, 5.0, 6.0], vec![7.0, 8.0, 9.0]));
        Ok(())
    }

    #[test]
    fn scales_are_undone_and_constants_only_shifted() -> Result<()> {
        let scale = Scale::fit(&[1.0, 3.0])?;
        assert_eq!(scale, Scale { mean: 2.0, std: 1.0 });
        assert_eq!(scale.undo(scale.apply(7.5)), 7.5);
        assert_eq!(Scale::fit(&[4.0, 4.0])?, Scale { mean: 4.0, std: 1.0 });
        // The mean of so many tenths is not quite a tenth.
        assert_eq!(Scale::fit(&[0.1; 24])?, Scale { mean: 0.1, std: 1.0 });
        assert!(Scale::fit(&[]).is_err());
        assert!(Scale::fit(&[1e300, -1e300]).expect_err("too large").to_string().contains("too large"));
        Ok(())
    }

    #[test]
    fn impossible_windows_are_refused() {
        let cfg = WindowConfig::default();
        let series = vec![vec![0.0; 20], vec![0.0; 19]];
        for (error, says) in [
            (counting(0..10, WindowConfig { stride: 0, ..cfg }), "1 or more"),
            (counting(0..11, cfg), "there are 10 steps, got the part 0..11"),
            (counting(0..10, cfg), "no window of 12 + 1 steps"),
            (counting(0..10, WindowConfig { horizon: usize::MAX, ..cfg }), "no window"),
            (Windows::new(&series, &[UNIT; 2], 0, 0..5, cfg), "columns of 20 and 19 steps"),
            (Windows::new(&series, &[UNIT], 0, 0..5, cfg), "one scale a column, 2, got 1"),
            (Windows::new(&series, &[UNIT; 2], 2, 0..5, cfg), "got 2 as the one to foretell"),
            (chronological(10, 1.0).and_then(|_| counting(0..10, cfg)), "must be in (0, 1), got 1"),
            (chronological(1, 0.5).and_then(|_| counting(0..10, cfg)), "1 steps cannot be split"),
        ] {
            let error = error.expect_err(says).to_string();
            assert!(error.contains(says), "{says:?} not in {error}");
        }
    }
}
