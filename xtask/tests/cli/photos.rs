//! Pictures in folders, from the first training to a new head on its weights.

use std::fs;
use std::path::Path;

use nn_core::weights::safetensors;

use crate::stage::{call, folder};

/// Twelve pictures a colour, each with its own shade and noise, in sizes that differ.
fn pictures(dir: &Path, colours: &[(&str, [u8; 3])]) {
    for (name, colour) in colours {
        let class = dir.join(name);
        fs::create_dir_all(&class).expect("a writable folder");
        for n in 0..12u32 {
            let shade = |x: u32, y: u32| {
                let noise = ((x * 31 + y * 17 + n * 7) % 40) as u8;
                image::Rgb(colour.map(|v| v.saturating_sub(noise + 3 * n as u8)))
            };
            let picture = image::RgbImage::from_fn(36 + n, 50 - n, shade);
            picture.save(class.join(format!("{n}.png"))).expect("a writable folder");
        }
    }
}

#[test]
fn a_new_head_is_trained_on_weights_for_other_classes() {
    let dir = folder();
    let warm = [("red", [250, 60, 50]), ("green", [50, 240, 60]), ("blue", [50, 60, 250])];
    pictures(&dir.path().join("colours"), &warm);
    let common = "train cifar_resnet20-cifar10 --data folder --batch-size 9 --lr 0.02 --json";
    let first = call(dir.path(), &format!("{common} --data-dir colours --epochs 12 --out first")).ok().json();
    assert!(first["summary"]["best"]["eval"]["accuracy"].as_f64().expect("a number") > 0.7, "{first}");

    pictures(&dir.path().join("greys"), &[("dark", [60, 60, 60]), ("light", [250, 250, 250])]);
    let second = format!("{common} --data-dir greys --epochs 2 --weights first/model.safetensors");
    call(dir.path(), &format!("{second} --freeze head-only --out head")).ok();
    let [before, after] = ["first", "head"].map(|run| {
        safetensors::read(&dir.path().join(run).join("model.safetensors"))
            .expect("a finished run has weights")
    });
    let bytes = |tensor: &candle_core::Tensor| -> Vec<f32> {
        tensor.to_dtype(candle_core::DType::F32).and_then(|t| t.flatten_all()?.to_vec1()).expect("on the CPU")
    };
    for (name, tensor) in &after {
        match name.strip_prefix("linear.") {
            Some(_) => assert_eq!(tensor.dim(0).ok(), Some(2)),
            None => assert_eq!(bytes(tensor), bytes(&before[name]), "{name} is frozen"),
        }
    }
    let told = call(dir.path(), &format!("{second} --freeze until=layer3 --out last")).ok().stderr;
    assert!(told.contains("parameters are trained"), "{told}");
    let answer = call(dir.path(), "predict last greys/dark/3.png --json").ok().json();
    assert!(["dark", "light"].contains(&answer[0]["predictions"][0]["label"].as_str().expect("a name")));
    call(dir.path(), "eval last --json").ok();

    call(dir.path(), &format!("{second} --freeze until=layer9")).fails(&["no layer layer9", "layer3"]);
    call(dir.path(), &format!("{common} --data-dir greys --freeze head-only")).fails(&["--weights"]);
    call(dir.path(), &format!("{common} --data-dir nowhere")).fails(&["nowhere", "--data-dir"]);
    fs::write(dir.path().join("greys/dark/0.png"), "no picture").expect("a writable folder");
    call(dir.path(), &format!("{second} --out broken")).fails(&["0.png", "not a PNG"]);
}

#[test]
fn rare_classes_are_met_as_often_as_common_ones() {
    let dir = folder();
    let warm = [("red", [250, 60, 50]), ("blue", [50, 60, 250])];
    pictures(dir.path(), &warm);
    let mut list = String::from("file,colour\n");
    for n in 0..12 {
        list += &format!("red/{n}.png,red\n");
        list += &if n < 4 { format!("blue/{n}.png,blue\n") } else { String::new() };
    }
    fs::write(dir.path().join("list.csv"), list).expect("a writable folder");
    let words = "train cifar_resnet20-cifar10 --data folder --data-dir . --epochs 2 --batch-size 4 \
                 --set data.lists=[\"list.csv\"] --set data.columns=[\"file\",\"colour\"] --set data.held_out=0.25 \
                 --set train.validation=0.25 --set train.split=stratified --set train.sampling=balanced";
    let told = call(dir.path(), &format!("{words} --out run")).ok().stderr;
    assert!(told.contains("9 training, 3 validation and 4 test images"), "{told}");
    let recipe = fs::read_to_string(dir.path().join("run/recipe.toml")).expect("a recipe");
    assert!(
        recipe.contains("sampling = \"balanced\"") && recipe.contains("lists = [\"list.csv\"]"),
        "{recipe}"
    );
    let scale = "--set train.scale=[{names=\"linear.*\",lr=10},{names=\"*.bias\",weight_decay=0}]";
    call(dir.path(), &format!("{words} {scale} --out scaled")).ok();
    let weights = ["run", "scaled"].map(|run| crate::stage::weights(&dir.path().join(run)));
    assert!(weights[0] != weights[1]);
    call(dir.path(), &format!("{words} --set train.scale=[{{names=\"head.*\",lr=10}}]"))
        .fails(&["train.scale: no parameter that is trained is called `head.*`", "linear.weight"]);
    call(dir.path(), &format!("{words} --set train.unused=[\"aux*\"]"))
        .fails(&["train.unused: no parameter that is trained is called `aux*`"]);
    call(dir.path(), "train toy-copy --set train.sampling=balanced")
        .fails(&["train.sampling = \"balanced\" goes by the classes of examples"]);
}

#[test]
fn augmentations_are_shown_and_mixed_classes_learned() {
    let dir = folder();
    pictures(&dir.path().join("greys"), &[("dark", [60, 60, 60]), ("light", [250, 250, 250])]);
    call(dir.path(), "augment greys/dark/1.png greys/light/2.png --size 32 --draws 3").ok();
    let page = fs::read_to_string(dir.path().join("augment.html")).expect("a page");
    assert!(page.contains("elastic = {") && page.contains("cutmix = {"));
    assert_eq!(page.matches("<img ").count() % 3, 0);
    call(dir.path(), "augment greys/dark/1.png --line blur={} --out blur.html").ok();
    call(dir.path(), "augment greys/dark/1.png --line blurr={}").fails(&["unknown key `blurr`", "`blur`"]);
    call(dir.path(), "augment greys/dark/1.png --line blur={kernel=2}").fails(&["kernel must be odd"]);
    call(dir.path(), "augment nowhere.png").fails(&["nowhere.png"]);
    let train = "train cifar_resnet20-cifar10 --data folder --data-dir greys --batch-size 9 --epochs 1 --json --out run";
    let mixed = "--set augment.mixup.alpha=0.4 --set augment.cutmix={} --set augment.rand_augment={}";
    let told = call(dir.path(), &format!("{train} {mixed}")).ok().json();
    assert!(told["summary"]["best"]["train"]["accuracy"].as_f64().is_some(), "{told}");
}

#[test]
fn scenes_are_learned_and_shown_beside_the_truth() {
    let dir = folder();
    let scenes = dir.path().join("camvid");
    fs::create_dir(&scenes).expect("a writable folder");
    for (part, count) in [("train", 4), ("test", 2)] {
        let mut list = String::new();
        for n in 0..count {
            // Sky above, road below; the last row is of no class.
            let class = |y: u32| [0, 3, 11][(y / 30) as usize % 3];
            let mask = image::GrayImage::from_fn(64, 64, |_, y| image::Luma([class(y + n)]));
            let shade = |x: u32, y: u32| {
                image::Rgb(
                    [[90, 150, 250], [110, 100, 90], [0; 3]][(y + n) as usize / 30 % 3]
                        .map(|v: u8| v.saturating_sub((x % 9) as u8)),
                )
            };
            image::RgbImage::from_fn(64, 64, shade)
                .save(scenes.join(format!("{part}{n}.png")))
                .expect("writable");
            mask.save(scenes.join(format!("{part}{n}_mask.png"))).expect("writable");
            list += &format!("{part}{n}.png {part}{n}_mask.png\n");
        }
        fs::write(scenes.join(format!("{part}.txt")), list).expect("writable");
    }
    let words = "train fcn_mobilenet_v2-camvid --data-dir . --epochs 2 --batch-size 2 --set data.size=[64,64] --out run";
    let figures = call(dir.path(), &format!("{words} --json")).ok().json();
    let best = &figures["summary"]["best"];
    assert!(best["eval"]["mean_iou"].as_f64().is_some_and(|iou| iou > 0.0), "{figures}");
    assert!(best["train"]["mean_iou"].is_null());
    let report = fs::read_to_string(dir.path().join("run/report.html")).expect("a report");
    assert!(report.contains("<h2>Scenes</h2>") && report.contains("bicyclist"));
    let eval = call(dir.path(), "eval run").ok().stdout;
    assert!(eval.contains("mean IoU"), "{eval}");
    fs::write(scenes.join("test.txt"), "test0.png train.txt\n").expect("writable");
    call(dir.path(), "eval run").fails(&["train.txt", "must be a PNG file"]);
}
