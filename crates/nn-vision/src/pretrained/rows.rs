//! The table of trained weights.
//!
//! torchvision's come first, then what others trained; of a model with more than one row the first is the one whose pictures are
//! prepared in the way most weights of that model expect.

use nn_layers::{Activation, Padding};

use super::{IMAGENET, Interpolation, Normalise, Origin, Preprocessing, Pretrained, whole};
use crate::labels;
use crate::mobilenet_v1::{MOBILENET_V1, MobileNetV1, MobileNetV1Config};
use crate::mobilenet_v2::{MOBILENET_V2, MobileNetV2, MobileNetV2Config};

#[rustfmt::skip]
pub(super) const ROWS: &[Pretrained] = &[
    torchvision("alexnet", "alexnet-owt-7be5be79", 56.522),
    torchvision("vgg11", "vgg11-8a719046", 69.02),
    torchvision("vgg11_bn", "vgg11_bn-6002323d", 70.37),
    torchvision("vgg13", "vgg13-19584684", 69.928),
    torchvision("vgg13_bn", "vgg13_bn-abd245e5", 71.586),
    torchvision("vgg16", "vgg16-397923af", 71.592),
    torchvision("vgg16_bn", "vgg16_bn-6c64b313", 73.36),
    torchvision("vgg19", "vgg19-dcbb9e9d", 72.376),
    torchvision("vgg19_bn", "vgg19_bn-c79401a0", 74.218),
    torchvision("googlenet", "googlenet-1378be20", 69.778).half(),
    torchvision("inception_v3", "inception_v3_google-0cc3c7bd", 77.294).sized(342, 299).half(),
    torchvision("resnet18", "resnet18-f37072fd", 69.758).hub("timm/resnet18.tv_in1k"),
    torchvision("resnet34", "resnet34-b627a593", 73.314).hub("timm/resnet34.tv_in1k"),
    torchvision("resnet50", "resnet50-0676ba61", 76.13).hub("timm/resnet50.tv_in1k"),
    torchvision("resnet50", "resnet50-11ad3fa6", 80.858).sized(232, 224).hub("timm/resnet50.tv2_in1k"),
    torchvision("resnet101", "resnet101-63fe2227", 77.374).hub("timm/resnet101.tv_in1k"),
    torchvision("resnet101", "resnet101-cd907fc2", 81.886).sized(232, 224).hub("timm/resnet101.tv2_in1k"),
    torchvision("resnet152", "resnet152-394f9c45", 78.312).hub("timm/resnet152.tv_in1k"),
    torchvision("resnet152", "resnet152-f82ba261", 82.284).sized(232, 224).hub("timm/resnet152.tv2_in1k"),
    torchvision("wide_resnet50_2", "wide_resnet50_2-95faca4d", 78.468).hub("timm/wide_resnet50_2.tv_in1k"),
    torchvision("wide_resnet50_2", "wide_resnet50_2-9ba9bcbe", 81.602).sized(232, 224).hub("timm/wide_resnet50_2.tv2_in1k"),
    torchvision("wide_resnet101_2", "wide_resnet101_2-32ee1156", 78.848).hub("timm/wide_resnet101_2.tv_in1k"),
    torchvision("wide_resnet101_2", "wide_resnet101_2-d733dc28", 82.51).sized(232, 224).hub("timm/wide_resnet101_2.tv2_in1k"),
    torchvision("resnext50_32x4d", "resnext50_32x4d-7cdf4587", 77.618).hub("timm/resnext50_32x4d.tv_in1k"),
    torchvision("resnext50_32x4d", "resnext50_32x4d-1a0047aa", 81.198).sized(232, 224).hub("timm/resnext50_32x4d.tv2_in1k"),
    torchvision("resnext101_32x8d", "resnext101_32x8d-8ba56ff5", 79.312).hub("timm/resnext101_32x8d.tv_in1k"),
    torchvision("resnext101_32x8d", "resnext101_32x8d-110c445d", 82.834).sized(232, 224).hub("timm/resnext101_32x8d.tv2_in1k"),
    torchvision("mobilenet_v2", "mobilenet_v2-b0353104", 71.878),
    torchvision("mobilenet_v2", "mobilenet_v2-7ebf99e0", 72.154).sized(232, 224),
    torchvision("densenet121", "densenet121-a639ec97", 74.434).hub("timm/densenet121.tv_in1k"),
    torchvision("densenet161", "densenet161-8d451a50", 77.138).hub("timm/densenet161.tv_in1k"),
    torchvision("densenet169", "densenet169-b2777c0a", 75.6).hub("timm/densenet169.tv_in1k"),
    torchvision("densenet201", "densenet201-c1103571", 76.896).hub("timm/densenet201.tv_in1k"),
    torchvision("vit_b_16", "vit_b_16-c867db91", 81.072),
    torchvision("vit_b_32", "vit_b_32-d86f8d99", 75.912),
    torchvision("vit_l_16", "vit_l_16-852ce7e3", 79.662).sized(242, 224),
    torchvision("vit_l_32", "vit_l_32-c7638314", 76.972),
    cifar("cifar_resnet20",  "resnet20-12fca82f",  "pretrained_models/resnet20-12fca82f.th",  91.73)
        .digests("12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8", "02926273efb1deadb6dc654c7087baea932ef2026d9f854680d6858146d85838"),
    cifar("cifar_resnet32",  "resnet32-d509ac18",  "pretrained_models/resnet32-d509ac18.th",  92.63),
    cifar("cifar_resnet44",  "resnet44-014dd654",  "pretrained_models/resnet44-014dd654.th",  93.10),
    cifar("cifar_resnet56",  "resnet56-4bfd9763",  "pretrained_models/resnet56-4bfd9763.th",  93.39),
    cifar("cifar_resnet110", "resnet110-1d1ed7c2", "pretrained_models/resnet110-1d1ed7c2.th", 93.68),
    TENSORFLOW_MOBILENET_V2,
    RETINAFACE_MOBILENET_V1,
    timm("mobilenet_v1", "mobilenetv1_100.ra4_e3600_r224_in1k", "timm/mobilenetv1_100.ra4_e3600_r224_in1k", 256).half(),
    timm("vit_t_16", "vit_tiny_patch16_224.augreg_in21k_ft_in1k", "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", 248).half(),
    timm("vit_s_16", "vit_small_patch16_224.augreg_in21k_ft_in1k", "timm/vit_small_patch16_224.augreg_in21k_ft_in1k", 248).half(),
    timm("vit_s_32", "vit_small_patch32_224.augreg_in21k_ft_in1k", "timm/vit_small_patch32_224.augreg_in21k_ft_in1k", 248).half(),
    timm("deit_t_16_distilled", "deit_tiny_distilled_patch16_224.fb_in1k", "timm/deit_tiny_distilled_patch16_224.fb_in1k", 248).accuracy(74.5),
    timm("deit_s_16_distilled", "deit_small_distilled_patch16_224.fb_in1k", "timm/deit_small_distilled_patch16_224.fb_in1k", 248).accuracy(81.2),
    timm("deit_b_16_distilled", "deit_base_distilled_patch16_224.fb_in1k", "timm/deit_base_distilled_patch16_224.fb_in1k", 248).accuracy(83.4),
    Pretrained {
        build: Some(|vb, num_classes| {
            let cfg = MobileNetV1Config { norm_eps: 1e-3, padding: Padding::Same, num_classes, ..MOBILENET_V1 };
            Ok(MobileNetV1::new(&cfg, vb)?.into())
        }),
        ..google("mobilenet_v1", "mobilenet_v1_1.0_224", "google/mobilenet_v1_1.0_224")
    },
    Pretrained {
        build: Some(|vb, num_classes| {
            let cfg = MobileNetV2Config { norm_eps: 1e-3, padding: Padding::Same, num_classes, ..MOBILENET_V2 };
            Ok(MobileNetV2::new(&cfg, vb)?.into())
        }),
        ..google("mobilenet_v2", "mobilenet_v2_1.0_224", "google/mobilenet_v2_1.0_224")
    },
];

/// TensorFlow's own, whose convolutions of stride 2 pad below and on the right.
///
/// The published file holds integers; its conversion multiplies them out and writes the folded batch norms as identities.
const TENSORFLOW_MOBILENET_V2: Pretrained = Pretrained {
    name: "mobilenet_v2_imagenet_dequantized",
    model: "mobilenet_v2",
    origin: Origin::GitHub {
        repository: "google-coral/test_data",
        commit: "104342d",
        path: "tf2_mobilenet_v2_1.0_224_ptq.tflite",
    },
    hub: None,
    sha256: "5d3137241276e79c86d14a74fe43581398ae0e815191d3dba45495b810840e8c",
    converted_sha256: Some("dceada45a021cfa5c8f9d0d5147b99e84ca62e26d1851fa48562ffa958d18f3e"),
    licence: "Apache-2.0",
    preprocessing: Preprocessing { normalise: Normalise::HALF, ..IMAGENET },
    labels: &labels::IMAGENET,
    accuracy: None,
    build: Some(|vb, num_classes| {
        let cfg = MobileNetV2Config { padding: Padding::Same, num_classes, ..MOBILENET_V2 };
        Ok(MobileNetV2::new(&cfg, vb)?.into())
    }),
};

/// The backbone of a face detector before it was taught faces.
const RETINAFACE_MOBILENET_V1: Pretrained = Pretrained {
    name: "mobilenet_v1_0.25_imagenet",
    model: "mobilenet_v1_0.25",
    origin: Origin::GitHub {
        repository: "biubug6/Pytorch_Retinaface",
        commit: "3c31dcd",
        path: "model_best.pth.tar",
    },
    hub: None,
    sha256: "1a73859ca67b1d1753f5e01af050d660880dc6a97b4b346905356d65f3ee8755",
    converted_sha256: Some("8c7cc6443f6f47a841622a68a69415b4efc1fff105bb654c71392cbce8aaa7c1"),
    licence: "MIT",
    preprocessing: IMAGENET,
    labels: &labels::IMAGENET,
    accuracy: Some(46.754),
    build: Some(|vb, num_classes| {
        let cfg =
            MobileNetV1Config { width: 0.25, activation: Activation::Relu, num_classes, ..MOBILENET_V1 };
        Ok(MobileNetV1::new(&cfg, vb)?.into())
    }),
};

/// Of a network that torchvision has too: the digits after the last hyphen begin the file's SHA-256.
const fn torchvision(model: &'static str, name: &'static str, accuracy: f64) -> Pretrained {
    Pretrained {
        name,
        model,
        origin: Origin::Torchvision,
        hub: None,
        sha256: last_digits(name),
        converted_sha256: None,
        licence: "BSD-3-Clause",
        preprocessing: IMAGENET,
        labels: &labels::IMAGENET,
        accuracy: Some(accuracy),
        build: None,
    }
}

/// Of Yerlan Idelbayev's "Proper ResNet implementation for CIFAR10".
const fn cifar(model: &'static str, name: &'static str, path: &'static str, accuracy: f64) -> Pretrained {
    Pretrained {
        origin: Origin::GitHub { repository: "akamaster/pytorch_resnet_cifar10", commit: "d5489e8", path },
        licence: "BSD-2-Clause",
        preprocessing: whole(32),
        labels: &labels::CIFAR10,
        ..torchvision(model, name, accuracy)
    }
}

/// On the hub in transformers' names: TensorFlow's own, with its epsilon, its padding and its class for the background.
const fn google(model: &'static str, name: &'static str, hub: &'static str) -> Pretrained {
    Pretrained {
        licence: "other",
        preprocessing: Preprocessing { normalise: Normalise::HALF, ..IMAGENET },
        labels: &labels::IMAGENET_AND_BACKGROUND,
        ..timm(model, name, hub, 256)
    }
}

/// On the hub, of a network that torchvision lacks or has untrained.
const fn timm(model: &'static str, name: &'static str, hub: &'static str, shorter_side: usize) -> Pretrained {
    Pretrained {
        origin: Origin::Hub,
        hub: Some(hub),
        sha256: "",
        licence: "Apache-2.0",
        preprocessing: Preprocessing { shorter_side, interpolation: Interpolation::Bicubic, ..IMAGENET },
        accuracy: None,
        ..torchvision(model, name, 0.0)
    }
}

const fn last_digits(name: &str) -> &str {
    name.split_at(name.len() - 8).1
}

impl Pretrained {
    const fn sized(mut self, shorter_side: usize, crop: usize) -> Self {
        (self.preprocessing.shorter_side, self.preprocessing.crop) = (shorter_side, crop);
        self
    }

    const fn half(mut self) -> Self {
        self.preprocessing.normalise = Normalise::HALF;
        self
    }

    const fn hub(self, repository: &'static str) -> Self {
        Self { hub: Some(repository), ..self }
    }

    const fn accuracy(self, top1: f64) -> Self {
        Self { accuracy: Some(top1), ..self }
    }

    const fn digests(self, published: &'static str, converted: &'static str) -> Self {
        Self { sha256: published, converted_sha256: Some(converted), ..self }
    }
}
