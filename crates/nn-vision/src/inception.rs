//! Inception v3: GoogLeNet's blocks with their large kernels cut into small ones.
//!
//! Source: Szegedy et al. 2016, arXiv:1512.00567, Table 1 and figures 5 to 10. Names and numbers are torchvision's.
//! Differs, with torchvision: batch norm's eps is 1e-3; the blocks are those of the authors' code, which adds a block of
//! 35×35 maps and pads where the paper's table does not. torchvision's `transform_input` is left to the preparation of
//! images: its weights expect mean ½ and deviation ½ a channel.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, Layer, Mode, ParamStore, Through};
use nn_layers::{
    AdaptiveAvgPool2d, AvgPool2d, Bias, ConvNorm, Dropout, Flatten, Linear, LinearConfig, MaxPool2d, normal,
};

use crate::branches::{Branch, Branches, Conv, Pool, chain, conv};
use crate::classifier::{at_least, renew};
use crate::trunk::Trunk;
use crate::{Auxiliary, Classifier, Entry, Weighted};

/// Options of [`InceptionV3`].
#[derive(Clone, Copy, Debug)]
pub struct InceptionV3Config {
    /// Whether there is the head that helps training.
    pub auxiliary: Auxiliary,
    /// Probability of dropping a number before the last layer, in [0, 1].
    pub dropout: f64,
    /// Channels of the images.
    pub in_channels: usize,
    /// Width of the output.
    pub num_classes: usize,
}

/// 27 161 264 parameters, of which 3 326 696 are in the auxiliary head.
pub const INCEPTION_V3: InceptionV3Config =
    InceptionV3Config { auxiliary: Auxiliary::Heads, dropout: 0.5, in_channels: 3, num_classes: 1000 };

/// What the loss of the auxiliary head is multiplied by before it is added to the main one: as the authors' published code and
/// PyTorch's lessons do, for the paper gives no number.
pub const AUXILIARY_WEIGHT: f64 = 0.4;

/// A row of Table 1.
enum Row {
    Conv(Conv),
    /// Max pooling 3×3 with stride 2.
    Pool(&'static str),
    Block(&'static str, Vec<Branch>),
}

fn layers() -> [Row; 18] {
    [
        Row::Conv(conv("Conv2d_1a_3x3", 32, [3, 3]).strided().valid()),
        Row::Conv(conv("Conv2d_2a_3x3", 32, [3, 3]).valid()),
        Row::Conv(conv("Conv2d_2b_3x3", 64, [3, 3])),
        Row::Pool("maxpool1"),
        Row::Conv(conv("Conv2d_3b_1x1", 80, [1, 1])),
        Row::Conv(conv("Conv2d_4a_3x3", 192, [3, 3]).valid()),
        Row::Pool("maxpool2"),
        Row::Block("Mixed_5b", block_a(32)),
        Row::Block("Mixed_5c", block_a(64)),
        Row::Block("Mixed_5d", block_a(64)),
        Row::Block("Mixed_6a", block_b()),
        Row::Block("Mixed_6b", block_c(128)),
        Row::Block("Mixed_6c", block_c(160)),
        Row::Block("Mixed_6d", block_c(160)),
        Row::Block("Mixed_6e", block_c(192)),
        Row::Block("Mixed_7a", block_d()),
        Row::Block("Mixed_7b", block_e()),
        Row::Block("Mixed_7c", block_e()),
    ]
}

/// 35×35: a 5×5, and another one as two 3×3.
fn block_a(projection: usize) -> Vec<Branch> {
    vec![
        chain([conv("branch1x1", 64, [1, 1])]),
        chain([conv("branch5x5_1", 48, [1, 1]), conv("branch5x5_2", 64, [5, 5])]),
        chain([
            conv("branch3x3dbl_1", 64, [1, 1]),
            conv("branch3x3dbl_2", 96, [3, 3]),
            conv("branch3x3dbl_3", 96, [3, 3]),
        ]),
        chain([conv("branch_pool", projection, [1, 1])]).after(MEAN),
    ]
}

/// 35×35 → 17×17.
fn block_b() -> Vec<Branch> {
    vec![
        chain([conv("branch3x3", 384, [3, 3]).strided().valid()]),
        chain([
            conv("branch3x3dbl_1", 64, [1, 1]),
            conv("branch3x3dbl_2", 96, [3, 3]),
            conv("branch3x3dbl_3", 96, [3, 3]).strided().valid(),
        ]),
        chain([]).after(HALVE),
    ]
}

/// 17×17: 7×7 as 1×7 and 7×1, once and twice, through `inner` channels.
fn block_c(inner: usize) -> Vec<Branch> {
    vec![
        chain([conv("branch1x1", 192, [1, 1])]),
        chain([
            conv("branch7x7_1", inner, [1, 1]),
            conv("branch7x7_2", inner, [1, 7]),
            conv("branch7x7_3", 192, [7, 1]),
        ]),
        chain([
            conv("branch7x7dbl_1", inner, [1, 1]),
            conv("branch7x7dbl_2", inner, [7, 1]),
            conv("branch7x7dbl_3", inner, [1, 7]),
            conv("branch7x7dbl_4", inner, [7, 1]),
            conv("branch7x7dbl_5", 192, [1, 7]),
        ]),
        chain([conv("branch_pool", 192, [1, 1])]).after(MEAN),
    ]
}

/// 17×17 → 8×8.
fn block_d() -> Vec<Branch> {
    vec![
        chain([conv("branch3x3_1", 192, [1, 1]), conv("branch3x3_2", 320, [3, 3]).strided().valid()]),
        chain([
            conv("branch7x7x3_1", 192, [1, 1]),
            conv("branch7x7x3_2", 192, [1, 7]),
            conv("branch7x7x3_3", 192, [7, 1]),
            conv("branch7x7x3_4", 192, [3, 3]).strided().valid(),
        ]),
        chain([]).after(HALVE),
    ]
}

/// 8×8: 3×3 as 1×3 and 3×1 side by side.
fn block_e() -> Vec<Branch> {
    vec![
        chain([conv("branch1x1", 320, [1, 1])]),
        chain([conv("branch3x3_1", 384, [1, 1])])
            .fork([conv("branch3x3_2a", 384, [1, 3]), conv("branch3x3_2b", 384, [3, 1])]),
        chain([conv("branch3x3dbl_1", 448, [1, 1]), conv("branch3x3dbl_2", 384, [3, 3])])
            .fork([conv("branch3x3dbl_3a", 384, [1, 3]), conv("branch3x3dbl_3b", 384, [3, 1])]),
        chain([conv("branch_pool", 192, [1, 1])]).after(MEAN),
    ]
}

const MEAN: Pool = Pool::Average(AvgPool2d { stride: [1, 1], padding: [1, 1], ..AvgPool2d::new([3, 3]) });
const POOL: MaxPool2d = MaxPool2d { stride: [2, 2], ..MaxPool2d::new([3, 3]) };
const HALVE: Pool = Pool::Max(POOL);

/// The last layer of each stride, 2 to 32.
const STAGES: [&str; 5] = ["Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c"];
/// What the auxiliary head reads.
const AUXILIARY: &str = "Mixed_6e";
/// Of the start values of weights; torchvision cuts them off at ±2, where there are none.
const STDEV: f64 = 0.1;
const AUXILIARY_STDEV: f64 = 0.001;
/// Smaller images have no pixel left in the last blocks.
const LEAST: usize = 75;
/// Smaller images are less than 17×17 where the auxiliary head reads them, and it has 5×5 windows two times.
const LEAST_AUXILIARY: usize = 299;

pub(crate) const ZOO: &[Entry] = &[Entry {
    name: "inception_v3",
    paper: "Szegedy et al. 2016",
    input: [3, 299, 299],
    least: [LEAST_AUXILIARY; 2],
    num_classes: 1000,
    parameters: 27_161_264,
    build: |vb, num_classes| {
        Ok(InceptionV3::new(&InceptionV3Config { num_classes, ..INCEPTION_V3 }, vb)?.into())
    },
}];

/// 5 convolutions with 2 pools → 3 blocks of 35×35 → 5 of 17×17 → 3 of 8×8 → mean → classes.
pub struct InceptionV3 {
    trunk: Trunk,
    auxiliary: Option<AuxiliaryHead>,
    dropout: Dropout,
    fc: Linear,
}

impl InceptionV3 {
    /// # Errors
    /// If `vb` has the names with other shapes, or `cfg.dropout` is no probability.
    pub fn new(cfg: &InceptionV3Config, vb: VarBuilder) -> Result<Self> {
        let (mut trunk, mut auxiliary) = (Trunk::default(), None);
        let mut channels = cfg.in_channels;
        for row in layers() {
            match row {
                Row::Conv(conv) => {
                    trunk.push(conv.name, conv.build(channels, STDEV, &vb)?);
                    channels = conv.channels;
                }
                Row::Pool(name) => trunk.push(name, POOL),
                Row::Block(name, branches) => {
                    let block = Branches::new(channels, &branches, STDEV, &vb.pp(name))?;
                    channels = block.channels();
                    trunk.push(name, block);
                    if cfg.auxiliary == Auxiliary::Heads && name == AUXILIARY {
                        auxiliary = Some(AuxiliaryHead::new(channels, cfg.num_classes, vb.pp("AuxLogits"))?);
                    }
                }
            }
        }
        Ok(Self {
            trunk,
            auxiliary,
            dropout: Dropout::new(cfg.dropout)?,
            fc: Linear::new(channels, cfg.num_classes, linear(STDEV), vb.pp("fc"))?,
        })
    }

    fn classify(&self, maps: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        pooled(maps, ctx)?.through("dropout", &self.dropout, ctx)?.through("fc", &self.fc, ctx)
    }
}

impl Classifier for InceptionV3 {
    /// `[B, C, H, W]` → the last maps of each size, at strides 2, 4, 8, 16 and 32.
    ///
    /// # Errors
    /// If the image is smaller than 75×75 pixels.
    fn features(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Tensor>> {
        at_least("InceptionV3", [LEAST; 2], x)?;
        self.trunk.taps(x, &STAGES, ctx)
    }

    /// `[B, C, H, W]` → the means of the last maps, `[B, 2048]`
    fn embed(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        at_least("InceptionV3", [LEAST; 2], x)?;
        pooled(&self.trunk.call(x, ctx)?, ctx)
    }

    /// In training the logits of the auxiliary head follow the main ones; its loss is added to the main one
    /// [`AUXILIARY_WEIGHT`] times.
    ///
    /// # Errors
    /// If the image is smaller than 75×75 pixels, or the auxiliary head is to read one smaller than 299×299.
    fn all_logits(&self, x: &Tensor, ctx: &Ctx) -> Result<Vec<Weighted>> {
        let Some(head) = self.auxiliary.as_ref().filter(|_| ctx.mode() == Mode::Train) else {
            return Ok(vec![Weighted::main(self.call(x, ctx)?)]);
        };
        at_least("InceptionV3 with its auxiliary head", [LEAST_AUXILIARY; 2], x)?;
        let maps = self.trunk.taps(x, &[AUXILIARY, STAGES[4]], ctx)?;
        let auxiliary = maps[0].through("AuxLogits", head, ctx)?;
        Ok(vec![
            Weighted::main(self.classify(&maps[1], ctx)?),
            Weighted { logits: auxiliary, weight: AUXILIARY_WEIGHT },
        ])
    }

    fn reset_head(&mut self, num_classes: usize, store: &ParamStore) -> Result<()> {
        if let Some(head) = &mut self.auxiliary {
            renew(&mut head.fc, "AuxLogits.fc", num_classes, linear(AUXILIARY_STDEV), store)?;
        }
        renew(&mut self.fc, "fc", num_classes, linear(STDEV), store)
    }
}

impl Layer for InceptionV3 {
    /// `[B, C, H, W]` → logits `[B, num_classes]`, without the auxiliary ones.
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        at_least("InceptionV3", [LEAST; 2], x)?;
        self.classify(&self.trunk.call(x, ctx)?, ctx)
    }
}

const fn linear(stdev: f64) -> LinearConfig {
    LinearConfig { bias: Bias::Learned, init: Some(normal(stdev)) }
}

fn pooled(x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
    x.through("avgpool", &AdaptiveAvgPool2d::GLOBAL, ctx)?.through("flatten", &Flatten, ctx)
}

/// mean 5×5 → conv 1×1 → conv 5×5 → mean → classes.
struct AuxiliaryHead {
    conv0: ConvNorm,
    conv1: ConvNorm,
    fc: Linear,
}

impl AuxiliaryHead {
    fn new(channels: usize, num_classes: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            conv0: conv("conv0", 128, [1, 1]).build(channels, STDEV, &vb)?,
            conv1: conv("conv1", 768, [5, 5]).valid().build(128, 0.01, &vb)?,
            fc: Linear::new(768, num_classes, linear(AUXILIARY_STDEV), vb.pp("fc"))?,
        })
    }
}

impl Layer for AuxiliaryHead {
    /// `[B, c, H, W]` → logits `[B, num_classes]`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let pool = AvgPool2d { stride: [3, 3], ..AvgPool2d::new([5, 5]) };
        let x = x.through("pool", &pool, ctx)?; // [B, c, 5, 5]
        let x = x.through("conv0", &self.conv0, ctx)?.through("conv1", &self.conv1, ctx)?; // [B, 768, 1, 1]
        pooled(&x, ctx)?.through("fc", &self.fc, ctx)
    }
}
