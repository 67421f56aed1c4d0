//! Reference numbers: what another framework computed, from files made by the scripts in `tests/golden`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::{DType, Error, Result, Tensor, Var};

use super::assert_close;
use crate::ensure;
use crate::weights::safetensors;

/// A file of cases, each an op's inputs, its output and gradients, and which of them have been compared.
///
/// Case `NAME` has an input `NAME.ARG` for each argument, the output `NAME.y`, the gradient `NAME.dy` that was sent back
/// and what came of it, `NAME.dARG`, for the arguments that were differentiated. Numbers are stored in `f64`.
pub struct Golden {
    tensors: BTreeMap<String, Tensor>,
    unseen: BTreeSet<String>,
}

/// In which types an op is compared, and within which relative and absolute distance.
const TOLERANCES: [(DType, f64); 2] = [(DType::F64, 1e-10), (DType::F32, 1e-5)];

impl Golden {
    /// # Errors
    /// If the file cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let tensors = safetensors::read(path.as_ref())?;
        let unseen = tensors.keys().cloned().collect();
        Ok(Self { tensors, unseen })
    }

    /// Demands that `f` of the arguments gives the reference's output and gradients, in `f64` and in `f32`.
    ///
    /// Absolute differences are measured against the largest number of a tensor. Arguments of integers are handed over
    /// as they are.
    ///
    /// # Errors
    /// If the case is not there, or anything differs; the message says what.
    pub fn check(
        &mut self,
        case: &str,
        args: &[&str],
        f: impl Fn(&[Tensor]) -> Result<Tensor>,
    ) -> Result<()> {
        for (dtype, tolerance) in TOLERANCES {
            self.compare(case, args, &f, dtype, tolerance)
                .map_err(|e| Error::Msg(format!("{case} in {dtype:?}: {e}")))?;
        }
        Ok(())
    }

    /// A tensor by its whole name, as it is stored, for what is no case.
    ///
    /// # Errors
    /// If it is not there.
    pub fn tensor(&mut self, name: &str) -> Result<Tensor> {
        self.unseen.remove(name);
        match self.tensors.get(name) {
            Some(tensor) => Ok(tensor.clone()),
            None => candle_core::bail!("the file has no {name}"),
        }
    }

    /// Demands that every number of the file was compared.
    ///
    /// # Errors
    /// If one was not: its name.
    pub fn finish(self) -> Result<()> {
        ensure!(self.unseen.is_empty(), "never compared: {:?}", self.unseen);
        Ok(())
    }

    fn get(&mut self, case: &str, part: &str, dtype: DType) -> Result<Option<Tensor>> {
        let name = format!("{case}.{part}");
        self.unseen.remove(&name);
        let found = self.tensors.get(&name);
        found.map(|t| if t.dtype().is_float() { t.to_dtype(dtype) } else { Ok(t.clone()) }).transpose()
    }

    fn demand(&mut self, case: &str, part: &str, dtype: DType) -> Result<Tensor> {
        match self.get(case, part, dtype)? {
            Some(tensor) => Ok(tensor),
            None => candle_core::bail!("the file has no {case}.{part}"),
        }
    }

    fn compare(
        &mut self,
        case: &str,
        args: &[&str],
        f: &impl Fn(&[Tensor]) -> Result<Tensor>,
        dtype: DType,
        tolerance: f64,
    ) -> Result<()> {
        let (mut inputs, mut trained) = (Vec::new(), Vec::new());
        for arg in args {
            let input = self.demand(case, arg, dtype)?;
            match self.get(case, &format!("d{arg}"), dtype)? {
                Some(gradient) => {
                    let var = Var::from_tensor(&input)?;
                    inputs.push(var.as_tensor().clone());
                    trained.push((*arg, var, gradient));
                }
                None => inputs.push(input),
            }
        }
        let y = f(&inputs)?;
        close(&y, &self.demand(case, "y", dtype)?, tolerance, "output")?;
        let grads = y.mul(&self.demand(case, "dy", dtype)?)?.sum_all()?.backward()?;
        for (arg, var, expected) in &trained {
            let Some(gradient) = grads.get(var) else { candle_core::bail!("{arg} got no gradient") };
            close(gradient, expected, tolerance, &format!("gradient of {arg}"))?;
        }
        Ok(())
    }
}

fn close(a: &Tensor, b: &Tensor, tolerance: f64, what: &str) -> Result<()> {
    let largest = match b.elem_count() {
        0 => 0.0,
        _ => b.to_dtype(DType::F64)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f64>()?,
    };
    let largest = if largest.is_finite() { largest } else { 1.0 };
    assert_close(a, b, tolerance, tolerance * largest).map_err(|e| Error::Msg(format!("{what}: {e}")))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn wrong_outputs_wrong_gradients_and_forgotten_cases_are_seen() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("square.safetensors");
        let t = |x: f64| Tensor::new(&[x], &Device::Cpu);
        let numbers = [("a.x", t(3.0)?), ("a.y", t(9.0)?), ("a.dy", t(2.0)?), ("a.dx", t(12.0)?)];
        candle_core::safetensors::save(&numbers.into_iter().collect(), &path)?;
        let mut golden = Golden::open(&path)?;
        assert!(Golden::open(&path)?.finish().is_err());
        golden.check("a", &["x"], |x| x[0].sqr())?;
        let wrong = golden.check("a", &["x"], |x| x[0].affine(3.0, 0.0)).expect_err("the gradient is 6");
        assert!(wrong.to_string().contains("gradient of x"), "{wrong}");
        assert!(golden.check("a", &["x"], |x| x[0].exp()).is_err());
        assert!(golden.check("b", &["x"], |x| x[0].sqr()).is_err());
        golden.finish()
    }
}
