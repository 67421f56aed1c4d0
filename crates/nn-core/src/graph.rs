//! What a tensor was made from, in words: for those who write a model down for another program.
//!
//! Ops write down what their results were made from for [`backward`](crate::backward()); an op with a kernel that says
//! what it computes can be read here. Only what leads back to a variable is written down: to follow an input through a
//! model, make the input a variable and freeze the parameters.

use candle_core::Tensor;

use crate::ops::{Activation, Divisor, Interpolation, LocalResponseNorm, Nonlinearity, OverTime};

/// A step of a computation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Operation {
    /// Of `[x, w]` or `[x, w, b]`, see [`conv2d`](crate::ops::conv2d()).
    Convolution(Taps),
    /// Of `[x, w]` or `[x, w, b]`, see [`conv_transpose2d`](crate::ops::conv_transpose2d()).
    TransposedConvolution {
        /// Of the convolution that is transposed.
        taps: Taps,
        /// Pixels more at the end of height and width.
        output_padding: [usize; 2],
    },
    /// Of `[x, w]` or `[x, w, b]`, see [`linear`](crate::ops::linear()).
    Linear,
    /// Of `[x, scale, shift]`: `x · scale + shift`, a scale and a shift for each place of axis 1.
    ScaleShift,
    /// Of one tensor, element by element.
    Activation(Activation),
    /// Of two tensors of one shape.
    Add,
    /// Times a number.
    Scale(f64),
    /// To another shape, in row-major order.
    Reshape(Vec<usize>),
    /// Two axes in each other's place.
    Transpose(usize, usize),
    /// The `len` places of `axis` from `start` on.
    #[expect(missing_docs, reason = "said above")]
    Narrow { axis: usize, start: usize, len: usize },
    /// To a larger shape, by repeating axes of one place, or new ones in front.
    Expand(Vec<usize>),
    /// One after the other along an axis.
    Concat(usize),
    /// So many zeros `before` and `after` along `axis`.
    #[expect(missing_docs, reason = "said above")]
    Pad { axis: usize, before: usize, after: usize },
    /// The largest of each window.
    MaxPool(Taps),
    /// The mean of each window.
    AveragePool {
        /// The windows.
        taps: Taps,
        /// What sums are divided by.
        divisor: Divisor,
    },
    /// The means of so many bins along height and width, see [`adaptive_avg_pool2d`](crate::ops::adaptive_avg_pool2d()).
    Bins([usize; 2]),
    /// See [`local_response_norm`](crate::ops::local_response_norm()).
    LocalResponseNorm(LocalResponseNorm),
    /// To another height and width.
    #[expect(missing_docs, reason = "said above")]
    Interpolate { size: [usize; 2], how: Interpolation },
    /// Along an axis.
    Softmax(usize),
    /// Along an axis.
    LogSoftmax(usize),
    /// Of `[x, weight, bias]`, see [`layer_norm`](crate::ops::layer_norm()).
    LayerNorm {
        /// How many of the last axes are normalised together.
        axes: usize,
        /// Added to the variance.
        eps: f64,
    },
    /// Of `[table, indices]`, where the indices are a variable: see [`embedding`](crate::ops::embedding()).
    Embedding,
    /// Over all steps of sequences of one length, see [`over_time`](crate::ops::over_time()).
    OverTime(OverTime),
    /// Of `[x, w_ih, w_hh, rest]` for sequences of one length: all outputs `[B, T, H]` of a recurrent layer, see
    /// [`lstm`](crate::ops::lstm()). The rest is `b_ih` and `b_hh`, if there are biases, and the first states, end to end.
    Recurrent {
        /// What it is made of.
        unit: Unit,
        /// Whether it begins at the last step.
        reversed: bool,
        /// Whether there is a `b_ih`, and a `b_hh`.
        biases: [bool; 2],
    },
    /// Of `[q, k, v]`, heads side by side in the last axis, without a mask but the causal one: see
    /// [`multi_head_attention`](crate::ops::multi_head_attention()).
    Attention {
        /// How many heads.
        heads: usize,
        /// What products of queries and keys are multiplied with.
        scale: f64,
        /// Whether query `i` sees keys `0..=i` only.
        causal: bool,
    },
    /// The same of one tensor that has `q`, `k` and `v` in three equal parts of its last axis: see
    /// [`self_attention`](crate::ops::self_attention()).
    SelfAttention {
        /// How many heads.
        heads: usize,
        /// What products of queries and keys are multiplied with.
        scale: f64,
        /// Whether query `i` sees keys `0..=i` only.
        causal: bool,
    },
}

/// What a recurrent layer is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// See [`rnn`](crate::ops::rnn()).
    Rnn(Nonlinearity),
    /// See [`lstm`](crate::ops::lstm()).
    Lstm,
    /// See [`gru`](crate::ops::gru()).
    Gru,
}

/// How windows slide over an image, everything worked out for its size. `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taps {
    /// Taps of a window.
    pub kernel: [usize; 2],
    /// From a window to the next, in pixels.
    pub stride: [usize; 2],
    /// `[before, after]` in pixels, with what a last window reaches further where it may.
    pub padding: [[usize; 2]; 2],
    /// From a tap to the next, in pixels.
    pub dilation: [usize; 2],
    /// Channels are cut into this many groups that do not see each other.
    pub groups: usize,
}

/// How a tensor came about.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The op's name.
    pub op: &'static str,
    /// What it did, one after the other: the first takes all arguments, each other one what the one before it gave. Empty
    /// if the op does not say what it does.
    pub operations: Vec<Operation>,
    /// What it took.
    pub arguments: Vec<Tensor>,
}

/// How `x` came about, if it leads back to a variable through an op of this crate on the CPU.
///
/// `None` for variables, for what does not lead back to one ([`Tensor::track_op`] tells), and for results of Candle's own
/// operations.
pub fn origin(x: &Tensor) -> Option<Origin> {
    crate::backward::origin(x)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result, Var};

    use super::*;
    use crate::ops;

    #[test]
    fn a_tensor_tells_how_it_came_about() -> Result<()> {
        let x = Var::new(&[[1f32, 2.0]], &Device::Cpu)?;
        let w = Tensor::new(&[[3f32, 4.0]], &Device::Cpu)?;
        let y = ops::linear(&x, &w, None)?;
        let Some(Origin { op, operations, arguments }) = origin(&y) else { panic!("one of ours") };
        assert_eq!((op, operations), ("linear", vec![Operation::Linear]));
        assert_eq!([arguments[0].id(), arguments[1].id()], [x.id(), w.id()]);
        let both = ops::concat(&[x.as_tensor(), &y], 1)?;
        let Some(both) = origin(&both) else { panic!("one of ours") };
        assert_eq!(both.operations, [Operation::Concat(1)]);
        assert_eq!([both.arguments[0].id(), both.arguments[1].id()], [x.id(), y.id()]);
        let sum = ops::add_activate(&y, &y, Activation::Tanh)?;
        assert_eq!(
            origin(&sum).map(|origin| origin.operations),
            Some(vec![Operation::Add, Operation::Activation(Activation::Tanh)])
        );
        assert!(origin(&x).is_none() && origin(&w).is_none() && origin(&y.sum_all()?).is_none());
        Ok(())
    }

    #[test]
    fn an_op_that_says_nothing_has_a_name() -> Result<()> {
        let x = Var::new(&[[1f32, 2.0]], &Device::Cpu)?;
        let Some(origin) = origin(&ops::log_sum_exp(&x, 1)?) else { panic!("one of ours") };
        assert_eq!((origin.op, origin.operations.len()), ("log_sum_exp", 0));
        Ok(())
    }
}
