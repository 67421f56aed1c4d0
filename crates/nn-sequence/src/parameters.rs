//! The parameters of one direction of one recurrent layer, or of a cell.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use nn_core::ensure;
use nn_core::ops::{Projection, RecurrentOptions, RecurrentWeights};
use nn_layers::Bias;

use crate::unit::{ProjectionNames, Unit};

/// Of one direction of one layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) input: usize,
    pub(crate) hidden: usize,
    pub(crate) gates: usize,
    pub(crate) projection: Option<ProjectionNames>,
}

#[derive(Clone, Debug)]
pub(crate) struct Parameters {
    weights: RecurrentWeights,
    projection: Option<(Tensor, Option<Tensor>)>,
}

impl Parameters {
    /// Their names end with `end`.
    pub(crate) fn new(sizes: Sizes, bias: Bias, end: &str, vb: &VarBuilder) -> Result<Self> {
        let Sizes { input, hidden, gates, projection } = sizes;
        let bound = (hidden as f64).powf(-0.5);
        let uniform = Init::Uniform { lo: -bound, up: bound };
        let named =
            |name: &str, shape: &[usize], init| vb.get_with_hints(shape, &format!("{name}{end}"), init);
        let one_a_row = |name: &str, rows: usize| {
            Ok::<_, candle_core::Error>(match bias {
                Bias::Learned => Some(named(name, &[rows], uniform)?),
                Bias::StartsAt(value) => Some(named(name, &[rows], Init::Const(value))?),
                Bias::None => None,
            })
        };
        let rows = gates * hidden;
        let outputs = projection.map_or(hidden, |p| p.outputs);
        ensure!(outputs > 0, "a projection must leave at least one output of {hidden} units");
        let weights = RecurrentWeights {
            w_ih: named("weight_ih", &[rows, input], uniform)?,
            w_hh: named("weight_hh", &[rows, outputs], uniform)?,
            b_ih: one_a_row("bias_ih", rows)?,
            b_hh: one_a_row("bias_hh", rows)?,
        };
        let projection = match projection {
            None => None,
            Some(p) => {
                let weight = named(p.weight, &[outputs, hidden], uniform)?;
                Some((weight, p.bias.map(|name| one_a_row(name, outputs)).transpose()?.flatten()))
            }
        };
        Ok(Self { weights, projection })
    }

    /// Through time; the projection is these parameters'.
    pub(crate) fn run<U: Unit>(
        &self,
        unit: U,
        x: &Tensor,
        state: Option<&U::State>,
        options: RecurrentOptions<'_>,
    ) -> Result<(Tensor, U::State)> {
        let projection = self.projection.as_ref();
        let projection = projection.map(|(weight, bias)| Projection { weight, bias: bias.as_ref() });
        unit.run(x, &self.weights, state, RecurrentOptions { projection, ..options })
    }

    /// Multiply-adds of a step.
    pub(crate) fn multiply_adds(&self) -> usize {
        let RecurrentWeights { w_ih, w_hh, .. } = &self.weights;
        let projection = self.projection.as_ref().map_or(0, |(weight, _)| weight.elem_count());
        w_ih.elem_count() + w_hh.elem_count() + projection
    }
}
