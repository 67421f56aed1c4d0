//! Models by name: the zoo's, and those whose shape a recipe gives: the multilayer perceptron, and a recurrent network that
//! reads an image row by row.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use nn_core::ops::CrossEntropy;
use nn_core::weights::{LoadReport, WeightFile};
use nn_core::{Ctx, Freeze, Layer, ParamStore, ops};
use nn_layers::{Activation, Mlp, MlpConfig, Padding};
use nn_sequence::{
    Input, Pooling, RecurrentConfig, SequenceClassifier, SequenceClassifierConfig, SequenceConfig,
};
use nn_train::Outcome;
use nn_train::data::Batch;
use nn_vision::fcn::{FCN8S_SMALL, Fcn, FcnConfig};
use nn_vision::mobilenet_v2::{MOBILENET_V2, MobileNetV2, MobileNetV2Config};
use nn_vision::{Entry, Network, Pretrained, total_loss};
use serde::{Deserialize, Serialize};

use crate::data::IGNORE;
use crate::failure::{self, Advise, failed};
use crate::likely::{Likely, likely};
use crate::task::network::UnitName;

/// The name of the perceptron, which is no row of the zoo because its table is the recipe's.
pub(crate) const MLP: &str = "mlp";

/// The name of the recurrent network.
pub(crate) const ROWS: &str = "rows";

/// The models whose padding is a choice.
const PADDED: [&str; 2] = ["mobilenet_v2", "fcn_mobilenet_v2"];

/// The `[model]` table of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    pub(crate) name: String,
    /// Widths of the hidden layers, input side first; those of a recurrent network are equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hidden: Option<Vec<usize>>,
    /// Between layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) activation: Option<ActivationName>,
    /// Probability of dropping a hidden unit in training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dropout: Option<f64>,
    /// Kind of a recurrent network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<UnitName>,
    /// How a MobileNet pads: weights from TensorFlow want its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) padding: Option<PaddingName>,
    /// Where the weights come from that it starts with: see `cargo xtask list pretrained`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PaddingName {
    /// As many pixels on both sides, as PyTorch pads.
    Symmetric,
    /// As TensorFlow pads: where the sides differ, more on the right and below.
    Same,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ActivationName {
    Relu,
    Relu6,
    LeakyRelu,
    Sigmoid,
    Tanh,
}

/// Widths of a perceptron whose recipe gives none.
const MLP_HIDDEN: &[usize] = &[256, 128];

/// Widths of a recurrent network whose recipe gives none.
const ROWS_HIDDEN: &[usize] = &[128, 128];

/// Images of the data sets for models whose shape a recipe gives.
const OWN_INPUT: [usize; 3] = [1, 28, 28];

/// A model with its parameters, on a device.
pub(crate) struct Model {
    pub(crate) layer: Network,
    pub(crate) store: ParamStore,
    pub(crate) device: Device,
}

/// An empty store for weights that are loaded and only looked at: no layer keeps its output for a way back.
pub(crate) fn inference() -> ParamStore {
    let store = ParamStore::blank();
    store.freeze(Freeze::Everything);
    store
}

impl Plan {
    /// The model of that name with its own defaults.
    pub(crate) fn named(name: &str) -> Result<Self> {
        let (hidden, activation, dropout, unit, padding, source) = (None, None, None, None, None, None);
        let plan = Self { name: name.to_owned(), hidden, activation, dropout, unit, padding, source };
        plan.check().map(|()| plan)
    }

    fn entry(&self) -> Option<&'static Entry> {
        nn_vision::find(&self.name)
    }

    /// The published weights it starts with, if they are known ones.
    pub(crate) fn row(&self) -> Option<&'static Pretrained> {
        self.source.as_deref().and_then(Pretrained::find)
    }

    fn is_segmenter(&self) -> bool {
        nn_vision::segmenters().any(|entry| entry.name == self.name)
    }

    /// Finds out where weights come from, where the plan does not say it; a segmenter's may be its backbone's.
    pub(crate) fn recognise(&mut self, weights: &Path) -> Result<()> {
        if self.source.is_none() {
            let row = match self.is_segmenter() {
                true => Pretrained::identify_any(weights)?,
                false => Pretrained::identify(&self.name, weights)?,
            };
            self.source = row.map(|row| row.name.to_owned());
        }
        Ok(())
    }

    /// # Errors
    /// If there is no such model, or it does not take the options.
    pub(crate) fn check(&self) -> Result<()> {
        if self.padding.is_some() && !PADDED.contains(&self.name.as_str()) {
            let (can, name) = (PADDED.join("` and `"), &self.name);
            return Err(failed(format!("model.padding is an option of `{can}`, not of `{name}`")));
        }
        let own = [MLP, ROWS].contains(&self.name.as_str());
        if self.entry().is_none() && !own {
            return Err(failure::unknown("model", &self.name, &names()));
        }
        self.check_source()?;
        let options = [
            ("hidden", self.hidden.is_some(), &[MLP, ROWS][..]),
            ("activation", self.activation.is_some(), &[MLP]),
            ("dropout", self.dropout.is_some(), &[MLP, ROWS]),
            ("unit", self.unit.is_some(), &[ROWS]),
        ];
        let foreign =
            |(_, given, models): &&(&str, bool, &[&str])| *given && !models.contains(&self.name.as_str());
        if let Some((key, _, models)) = options.iter().find(foreign) {
            let why = if own { "has no such thing" } else { "is fixed by its paper" };
            let takers = models.join("` and `");
            return Err(failed(format!("model.{key} is an option of `{takers}`; `{}` {why}", self.name)))
                .advise(format!("remove model.{key}, or set model.name = \"{}\"", models[0]));
        }
        self.check_shape()
    }

    fn check_source(&self) -> Result<()> {
        let Some(name) = &self.source else { return Ok(()) };
        let known: Vec<&str> = match self.is_segmenter() {
            true => Pretrained::all().map(|row| row.name).collect(),
            false => Pretrained::of(&self.name).map(|row| row.name).collect(),
        };
        if known.is_empty() {
            return Err(failed(format!("model.source: no trained weights of {} are known", self.name)));
        }
        if known.contains(&name.as_str()) {
            return Ok(());
        }
        Err(failure::unknown(&format!("source of weights for {}", self.name), name, &known))
    }

    /// Of a model whose shape the recipe gives.
    fn check_shape(&self) -> Result<()> {
        let hidden = self.hidden.as_deref().unwrap_or_default();
        if hidden.contains(&0) {
            return Err(failed("model.hidden: every layer must be at least 1 wide, got 0"));
        }
        if self.name == ROWS
            && (self.hidden.as_ref().is_some_and(Vec::is_empty)
                || hidden.iter().any(|&width| width != hidden[0]))
        {
            return Err(failed(format!(
                "model.hidden: `{ROWS}` has one layer or more, all of one width, got {hidden:?}"
            )));
        }
        match self.dropout {
            Some(p) if !(0.0..1.0).contains(&p) => {
                Err(failed(format!("model.dropout must be in [0, 1), got {p}")))
            }
            _ => Ok(()),
        }
    }

    /// `[C, H, W]` of the images it takes.
    pub(crate) fn input(&self) -> [usize; 3] {
        self.entry().map_or(OWN_INPUT, |entry| entry.input)
    }

    /// Classes it was made for.
    pub(crate) fn num_classes(&self) -> usize {
        self.entry().map_or(10, |entry| entry.num_classes)
    }

    /// The width of the output for so many classes: where one was meant to tell two apart, it does.
    pub(crate) fn outputs(&self, num_classes: usize) -> usize {
        if num_classes == 2 && self.num_classes() == 1 { 1 } else { num_classes }
    }

    /// Where it is described.
    pub(crate) fn paper(&self) -> &'static str {
        let own = if self.name == ROWS {
            "Hochreiter & Schmidhuber 1997"
        } else {
            "Rumelhart, Hinton & Williams 1986"
        };
        self.entry().map_or(own, |entry| entry.paper)
    }

    /// Builds it with parameters in `store`: drawn, or blank where they are to be loaded or only counted.
    pub(crate) fn build(&self, num_classes: usize, store: ParamStore, device: &Device) -> Result<Model> {
        self.check()?;
        let (vb, num_classes) = (store.vb(DType::F32, device), self.outputs(num_classes));
        let layer = match (self.entry(), self.padding) {
            (Some(_), Some(PaddingName::Same)) => self.build_same(num_classes, vb),
            (Some(entry), Some(PaddingName::Symmetric)) => (entry.build)(vb, num_classes),
            (Some(entry), None) => {
                let row = self.row().filter(|row| row.model == self.name);
                row.and_then(|row| row.build).unwrap_or(entry.build)(vb, num_classes)
            }
            (None, _) if self.name == ROWS => self.build_rows(num_classes, vb).map(Network::Other),
            (None, _) => self.build_mlp(num_classes, vb).map(Network::Other),
        };
        let layer = layer.with_context(|| format!("cannot build {}", self.name))?;
        Ok(Model { layer, store, device: device.clone() })
    }

    /// One of [`PADDED`], padded as TensorFlow pads.
    fn build_same(&self, num_classes: usize, vb: VarBuilder<'static>) -> candle_core::Result<Network> {
        let body = MobileNetV2Config { padding: Padding::Same, ..MOBILENET_V2 };
        if self.name == PADDED[0] {
            return MobileNetV2::new(&MobileNetV2Config { num_classes, ..body }, vb).map(Network::from);
        }
        let cfg = FcnConfig { num_classes, ..FCN8S_SMALL };
        let fcn = Fcn::new(&cfg, |vb| MobileNetV2::new(&body, vb), vb)?;
        Ok(Network::Segmenter(Box::new(fcn)))
    }

    fn build_mlp(&self, num_classes: usize, vb: VarBuilder<'_>) -> candle_core::Result<Box<dyn Layer>> {
        let config = MlpConfig {
            hidden: self.hidden.as_deref().unwrap_or(MLP_HIDDEN),
            activation: self.activation.unwrap_or(ActivationName::Relu).into(),
            dropout: self.dropout.unwrap_or(0.0),
            ..MlpConfig::default()
        };
        Ok(Box::new(Mlp::new(self.input().iter().product(), num_classes, config, vb)?))
    }

    fn build_rows(&self, classes: usize, vb: VarBuilder<'_>) -> candle_core::Result<Box<dyn Layer>> {
        let hidden = self.hidden.as_deref().unwrap_or(ROWS_HIDDEN);
        let dropout = self.dropout.unwrap_or(0.0);
        let unit = self.unit.unwrap_or_default().unit();
        let recurrent = RecurrentConfig { unit, layers: hidden.len(), dropout, ..RecurrentConfig::default() };
        let [_, _, width] = self.input();
        let sequence =
            SequenceConfig { input: Input::Features(width), hidden: hidden[0], recurrent, dropout };
        let cfg = SequenceClassifierConfig { sequence, pooling: Pooling::Last, classes };
        Ok(Box::new(Rows(SequenceClassifier::new(&cfg, vb)?)))
    }
}

impl Model {
    /// The loss of all heads that learn, and the main one's decisions, for a batch.
    pub(crate) fn outcome(
        &self,
        batch: &Batch,
        ctx: &Ctx<'_>,
        options: CrossEntropy<'_>,
    ) -> candle_core::Result<Outcome> {
        let heads = self.layer.all_logits(&batch.inputs.to_device(&self.device)?, ctx)?;
        let targets = batch.targets.to_device(&self.device)?;
        let mut outcomes = Vec::with_capacity(heads.len());
        let loss = total_loss(&heads, |logits| {
            outcomes.push(match (logits.rank(), logits.dim(1)?) {
                (2, 1) => Outcome::binary(logits, &targets)?,
                (2, _) => Outcome::classification_with(logits, &targets, options)?,
                _ => Outcome::segmentation(logits, &targets, IGNORE.into())?,
            });
            Ok(outcomes[outcomes.len() - 1].loss().clone())
        })?;
        outcomes.swap_remove(0).with_loss(loss)
    }

    /// Of each class, for each image of the input `[B, C, H, W]` of a classifier: `[B, classes]`.
    pub(crate) fn probabilities(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        let mut logits = self.layer.call(&input.to_device(&self.device)?, &Ctx::eval())?;
        if logits.dim(1)? == 1 {
            logits = Tensor::cat(&[&logits.zeros_like()?, &logits], 1)?; // their softmax is the sigmoid
        }
        ops::softmax(&logits, 1)
    }

    /// Replaces every parameter by the file's, of any format and under the names of any library we know.
    ///
    /// # Errors
    /// If names and shapes do not fit the model; the error lists each that does not and names the model that is nearest.
    pub(crate) fn load(&self, weights: &Path) -> Result<()> {
        let mut file = WeightFile::open(weights)?;
        let mut report = self.store.compare_with(&file);
        if !report.fits() && nn_vision::native(&mut file).is_some() {
            report = self.store.compare_with(&file);
        }
        if report.fits() {
            self.store.load_file(&file)?;
            return Ok(());
        }
        misfit(&report, &file, weights)
    }
}

/// What weights that do not fit lack, and which model they would fit.
pub(crate) fn misfit(report: &LoadReport, file: &WeightFile, weights: &Path) -> Result<()> {
    let lines = failure::mismatch_lines(report).join("\n");
    Err(failed(lines).context(format!("{} does not fit the model", weights.display()))).advise(nearest(file)?)
}

/// Reads an image of one channel from its first row to the last.
struct Rows(SequenceClassifier);

impl Layer for Rows {
    /// `[B, 1, H, W]` → `[B, classes]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> candle_core::Result<Tensor> {
        let (batch, channels, height, width) = x.dims4()?;
        nn_core::ensure!(channels == 1, "rows: an image must have 1 channel, got {:?}", x.dims());
        self.0.call(&ops::reshape(x, (batch, height, width))?, ctx) // [B, H, W]
    }
}

/// What to do about weights that do not fit.
fn nearest(file: &WeightFile) -> Result<String> {
    if let Some(Likely { kind, shape }) = likely(file) {
        return Ok(format!("these are weights of another network ({kind}: {shape})"));
    }
    let shapes = file.tensors().map(|(name, info)| (name, info.shape)).collect();
    let likely = nn_vision::likely(&shapes)?;
    let Some(first) = likely.first() else {
        return Ok("name the model these weights were trained as, or leave --weights out".to_owned());
    };
    let names: Vec<String> = likely.iter().map(|likely| format!("`{}`", likely.entry.name)).collect();
    let suit =
        if first.report.fits() { "these are weights of" } else { "these weights are most like those of" };
    Ok(format!("{suit} {} for {} classes", names.join(" or "), first.num_classes))
}

impl From<ActivationName> for Activation {
    fn from(name: ActivationName) -> Self {
        match name {
            ActivationName::Relu => Self::Relu,
            ActivationName::Relu6 => Self::Relu6,
            ActivationName::LeakyRelu => Self::LeakyRelu { slope: 0.01 },
            ActivationName::Sigmoid => Self::Sigmoid,
            ActivationName::Tanh => Self::Tanh,
        }
    }
}

/// Every model's name.
pub(crate) fn names() -> Vec<&'static str> {
    nn_vision::entries().map(|entry| entry.name).chain([MLP, ROWS]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_builds_with_the_parameters_it_claims() -> Result<()> {
        for name in names() {
            let plan = Plan::named(name)?;
            let model = plan.build(plan.num_classes(), ParamStore::blank(), &Device::Cpu)?;
            let own = match name {
                MLP => 784 * 256 + 256 + 256 * 128 + 128 + 1290,
                _ => 4 * 128 * (28 + 128 + 2 + 128 + 128 + 2) + 1290,
            };
            let claimed = nn_vision::find(name).map_or(own, |entry| entry.parameters);
            assert_eq!(model.store.parameter_count(), claimed, "{name}");
        }
        for name in PADDED {
            let plan = Plan { padding: Some(PaddingName::Same), ..Plan::named(name)? };
            let claimed = nn_vision::find(name).map_or(0, |entry| entry.parameters);
            let model = plan.build(plan.num_classes(), ParamStore::blank(), &Device::Cpu)?;
            assert_eq!(model.store.parameter_count(), claimed, "{name}");
        }
        Ok(())
    }

    #[test]
    fn what_is_only_looked_at_keeps_no_way_back() -> Result<()> {
        let image = Tensor::ones((1, 3, 32, 32), DType::F32, &Device::Cpu)?;
        for (store, tracked) in [(inference(), false), (ParamStore::blank(), true)] {
            let model = Plan::named("cifar_resnet20")?.build(10, store, &Device::Cpu)?;
            assert_eq!(model.layer.call(&image, &Ctx::eval())?.track_op(), tracked);
        }
        Ok(())
    }

    #[test]
    fn known_weights_decide_what_the_plan_leaves_open() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("mobilenet_v2_imagenet_dequantized.safetensors");
        std::fs::write(&file, "")?;
        let mut plan = Plan::named("mobilenet_v2")?;
        plan.recognise(&file)?;
        assert_eq!(plan.source.as_deref(), Some("mobilenet_v2_imagenet_dequantized"));
        plan.check()?;
        let image = Tensor::ones((1, 3, 64, 64), DType::F32, &Device::Cpu)?;
        let call = |plan: &Plan| -> Result<Vec<f32>> {
            let model = plan.build(2, ParamStore::new(0), &Device::Cpu)?;
            Ok(model.layer.call(&image, &Ctx::eval())?.squeeze(0)?.to_vec1()?)
        };
        let same = Plan { padding: Some(PaddingName::Same), ..Plan::named("mobilenet_v2")? };
        let symmetric = Plan { padding: Some(PaddingName::Symmetric), ..plan.clone() };
        assert_eq!(call(&plan)?, call(&same)?);
        assert_eq!(call(&symmetric)?, call(&Plan::named("mobilenet_v2")?)?);
        assert_ne!(call(&plan)?, call(&symmetric)?);
        let mut scene = Plan::named("fcn_mobilenet_v2")?;
        scene.recognise(&file)?;
        assert_eq!((scene.source.as_ref(), scene.check().is_ok()), (plan.source.as_ref(), true));
        let error = Plan { source: plan.source, ..Plan::named("resnet18")? }.check().expect_err("another's");
        assert!(failure::report(&error).contains("resnet18-f37072fd"), "{error}");
        Ok(())
    }

    /// Of blank weights, which make every class as likely as the other: ln 2 a head.
    #[test]
    fn the_losses_of_auxiliary_heads_count() -> Result<()> {
        let pixels = |classes: &[u32]| Tensor::new(classes, &Device::Cpu);
        for (name, heads, targets) in [
            ("googlenet", 1.0 + 0.3 + 0.3, pixels(&[0, 1])?),
            ("fcn_resnet50", 1.0 + 0.5, pixels(&[1])?.broadcast_as((2, 48, 48))?.contiguous()?),
        ] {
            let model = Plan::named(name)?.build(2, ParamStore::blank(), &Device::Cpu)?;
            let inputs = Tensor::ones((2, 3, 48, 48), DType::F32, &Device::Cpu)?;
            let batch = Batch { inputs, targets };
            for (ctx, heads) in [(Ctx::train(0), heads), (Ctx::eval(), 1.0)] {
                let loss = model.outcome(&batch, &ctx, CrossEntropy::default())?.loss_value()?;
                assert!((loss - heads * 2f64.ln()).abs() < 1e-5, "{name}: {loss}");
            }
        }
        Ok(())
    }

    #[test]
    fn one_output_tells_two_classes_apart() -> Result<()> {
        let plan = Plan::named("cat_cnn")?;
        assert_eq!([1, 2, 3].map(|classes| plan.outputs(classes)), [1, 1, 3]);
        let model = plan.build(2, ParamStore::new(0), &Device::Cpu)?;
        let inputs = Tensor::ones((2, 3, 64, 64), DType::F32, &Device::Cpu)?;
        let logit: f32 = model.layer.call(&inputs, &Ctx::eval())?.get(0)?.squeeze(0)?.to_scalar()?;
        let probabilities = model.probabilities(&inputs)?.to_vec2::<f32>()?;
        assert!((probabilities[0][1] - 1.0 / (1.0 + (-logit).exp())).abs() < 1e-6, "{probabilities:?}");
        let batch = Batch { inputs, targets: Tensor::new(&[0u32, 1], &Device::Cpu)? };
        let loss = -(probabilities[0][0].ln() + probabilities[1][1].ln()) / 2.0;
        assert!(
            (model.outcome(&batch, &Ctx::eval(), CrossEntropy::default())?.loss_value()? - f64::from(loss))
                .abs()
                < 1e-5
        );
        Ok(())
    }

    #[test]
    fn options_belong_to_the_perceptron() -> Result<()> {
        let mut plan = Plan { hidden: Some(vec![16]), ..Plan::named("lenet5")? };
        let error = failure::report(&plan.check().expect_err("LeNet-5 has no such option"));
        assert!(error.contains("model.hidden"), "{error}");
        plan.name = MLP.to_owned();
        plan.check()?;
        let error = Plan { hidden: Some(vec![16, 0]), ..plan.clone() }.check().expect_err("an empty layer");
        assert!(error.to_string().contains("got 0"));
        let error = Plan { dropout: Some(1.0), ..plan }.check().expect_err("nothing would be left");
        assert!(error.to_string().contains("model.dropout"));
        let rows = Plan::named(ROWS)?;
        for hidden in [vec![], vec![8, 9], vec![8, 0]] {
            let error = Plan { hidden: Some(hidden), ..rows.clone() }.check().expect_err("no such shape");
            assert!(error.to_string().contains("model.hidden"), "{error}");
        }
        let error = Plan { activation: Some(ActivationName::Relu), ..rows }.check().expect_err("no option");
        assert!(error.to_string().contains("model.activation is an option of `mlp`"), "{error}");
        let error = Plan { padding: Some(PaddingName::Same), ..Plan::named("lenet5")? }.check();
        assert!(error.expect_err("no such option").to_string().contains("model.padding is an option of"));
        let error = failure::report(&Plan::named("lenet").expect_err("no such model"));
        assert!(error.contains("`lenet5`"), "{error}");
        Ok(())
    }

    #[test]
    fn foreign_weights_are_reported_name_by_name() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("w.safetensors");
        Plan::named("cnn")?.build(10, ParamStore::new(0), &Device::Cpu)?.store.save(&path)?;
        let lenet = Plan::named("lenet5")?.build(10, ParamStore::blank(), &Device::Cpu)?;
        let error = failure::report(&lenet.load(&path).expect_err("another model's"));
        let help = "help: these are weights of `cnn` for 10 classes";
        for part in ["w.safetensors does not fit", "missing ", "unexpected ", help] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
        Ok(())
    }
}
