//! The loss from differentiable Candle operations: other devices, and the kernel's oracle.

use candle_core::{Result, Tensor};

use super::{CtcLoss, Reduction, Sample};

/// Stands for −∞, which would make gradients NaN; a sum below half of it has no path.
const NEVER: f64 = -1e30;

pub(super) fn portable(x: &Tensor, samples: &[Sample], options: CtcLoss) -> Result<Tensor> {
    let (steps, batch, _) = x.dims3()?;
    let states = samples.iter().map(Sample::states).max().unwrap_or(1);
    let table = |f: &dyn Fn(&Sample, usize) -> f64| -> Result<Tensor> {
        let numbers = samples.iter().flat_map(|sample| (0..states).map(|s| f(sample, s))).collect::<Vec<_>>();
        Tensor::from_vec(numbers, (batch, states), x.device())?.to_dtype(x.dtype())
    };
    let classes = samples
        .iter()
        .flat_map(|sample| (0..states).map(|s| sample.classes.get(s).map_or(0, |&class| class as u32)));
    let classes = Tensor::from_vec(classes.collect::<Vec<_>>(), (batch, states), x.device())?;
    let if_ = |yes: bool| if yes { 0.0 } else { NEVER };
    let skips = table(&|sample, s| if_(sample.skips.get(s) == Some(&true)))?;
    let ends = table(&|sample, s| if_(s < sample.states() && s + 2 >= sample.states()))?;
    let never = |n: usize| Tensor::full(NEVER, (batch, n), x.device())?.to_dtype(x.dtype());
    // As if every path had been in the first blank already; without frames there is the path of none for no targets.
    let mut ahead = table(&|sample, s| if_(s == 0 && (sample.frames > 0 || sample.targets() == 0)))?;
    for t in 0..steps {
        let shift = |n: usize| Tensor::cat(&[never(n)?, ahead.clone()], 1)?.narrow(1, 0, states);
        let (one, two) = (shift(1)?, (shift(2)? + &skips)?);
        let emitted = x.get(t)?.contiguous()?.gather(&classes, 1)?;
        let next = (log_sum_exp(&[&ahead, &one, &two])? + emitted)?.maximum(NEVER)?;
        let on: Vec<u8> = samples.iter().map(|sample| u8::from(t < sample.frames)).collect();
        let on = Tensor::from_vec(on, (batch, 1), x.device())?.broadcast_as((batch, states))?;
        ahead = on.where_cond(&next, &ahead)?;
    }
    let at_end = (ahead + ends)?;
    let parts = (0..states).map(|s| at_end.narrow(1, s, 1)).collect::<Result<Vec<_>>>()?;
    let total = log_sum_exp(&parts.iter().collect::<Vec<_>>())?.squeeze(1)?;
    let infinite = total.lt(0.5 * NEVER)?;
    let other = if options.zero_infinity { 0.0 } else { f64::INFINITY };
    let other = Tensor::full(other, batch, x.device())?.to_dtype(x.dtype())?;
    let losses = infinite.where_cond(&other, &total.neg()?)?;
    if options.reduction == Reduction::None {
        return Ok(losses);
    }
    let factors: Vec<f64> = samples.iter().map(|sample| options.factor(sample, batch)).collect();
    (losses * Tensor::from_vec(factors, batch, x.device())?.to_dtype(x.dtype())?)?.sum_all()
}

fn log_sum_exp(xs: &[&Tensor]) -> Result<Tensor> {
    let mut top = xs[0].detach();
    for x in xs {
        top = top.maximum(&x.detach())?;
    }
    let mut total = top.zeros_like()?;
    for x in xs {
        total = (total + (*x - &top)?.exp()?)?;
    }
    total.log()? + top
}
