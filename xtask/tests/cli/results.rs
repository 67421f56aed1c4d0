//! What the commands make and print when all is well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use candle_core::{Device, Tensor};
use nn_core::weights::safetensors;

use crate::stage::{call, digit, folder, mnist, png, trained};

#[test]
fn json_is_one_document_and_alone() {
    let dir = folder();
    let run = trained().display().to_string();
    let list = call(dir.path(), "list --json").ok();
    assert!(list.stderr.is_empty());
    let list = list.json();
    let names = |section: &str| -> Vec<String> {
        let rows = list[section].as_array().expect("an array");
        rows.iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert!(names("models").contains(&"lenet5".to_owned()) && names("models").contains(&"mlp".to_owned()));
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/recipes")).expect("the folder of recipes");
    let stem = |file: std::io::Result<fs::DirEntry>| {
        let path = file.expect("an entry").path();
        path.file_stem().expect("a name").to_string_lossy().into_owned()
    };
    let recipes: BTreeSet<String> = names("recipes").into_iter().collect();
    assert_eq!(recipes, files.map(stem).collect());
    assert_eq!(
        names("datasets"),
        ["digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "hymenoptera", "camvid", "folder"]
    );
    let summary = call(dir.path(), "summary lenet5 --input 2,1,28,28 --json").ok().json();
    assert_eq!((&summary["parameters"], &summary["output"]), (&61_706.into(), &vec![2, 10].into()));
    let eval = call(dir.path(), &format!("eval {run} --json")).ok().json();
    assert_eq!(eval["examples"], 500);
    assert!(eval["accuracy"].as_f64().expect("a number") > 0.7, "{eval}");
    let tiny = "train mlp --epochs 1 --set data.train_examples=64 --set data.test_examples=64 --json";
    let train = call(dir.path(), tiny).ok().json();
    assert_eq!((&train["run"], &train["summary"]["steps"]), (&"runs/mlp-digits".into(), &1.into()));
    call(dir.path(), tiny).ok();
    assert!(dir.path().join("runs/mlp-digits-2/model.safetensors").is_file());
}

#[test]
fn tables_are_for_people() {
    let dir = folder();
    let list = call(dir.path(), "list models").ok().stdout;
    assert!(list.contains("lenet5") && list.contains("61,706") && !list.contains("recipes"), "{list}");
    let summary = call(dir.path(), "summary lenet5").ok().stdout;
    for part in ["conv1", "Conv2d", "1×6×28×28", "416,520", "MiB"] {
        assert!(summary.contains(part), "{part} is not in\n{summary}");
    }
    call(dir.path(), "summary lenet5 --input 1,3,28,28").fails(&["does not take an input of 1×3×28×28"]);
}

#[test]
fn a_run_is_evaluated_as_it_was_trained() {
    let dir = folder();
    let run = trained();
    let metrics = fs::read_to_string(run.join("metrics.json")).expect("a finished run has figures");
    let metrics: serde_json::Value = serde_json::from_str(&metrics).expect("JSON");
    let eval = call(dir.path(), &format!("eval {} --json", run.display())).ok().json();
    let best = &metrics["test"];
    assert_eq!(eval["accuracy"], best["accuracy"]);
    let difference = eval["loss"].as_f64().expect("a number") - best["loss"].as_f64().expect("a number");
    assert!(difference.abs() < 1e-6, "{eval} is not {best}");
    for name in
        ["recipe.toml", "log.jsonl", "report.html", "model.safetensors", "last/checkpoint.safetensors"]
    {
        assert!(run.join(name).is_file(), "{name}");
    }
}

#[test]
fn a_runs_own_recipe_repeats_it() {
    let dir = folder();
    let recipe = trained().join("recipe.toml");
    call(dir.path(), &format!("train {} --out again", recipe.display())).ok();
    let bytes = |run: &std::path::Path| fs::read(run.join("model.safetensors")).expect("weights");
    assert!(bytes(&dir.path().join("again")) == bytes(trained()), "the same recipe gives other bytes");
}

#[test]
fn weights_start_a_run() {
    let dir = folder();
    let weights = trained().join("model.safetensors");
    let words =
        "train mlp --epochs 1 --lr 1e-12 --set data.train_examples=64 --set data.test_examples=500 --out run";
    call(dir.path(), &format!("{words} --weights {}", weights.display())).ok();
    let accuracy =
        |run: &str| call(dir.path(), &format!("eval {run} --json")).ok().json()["accuracy"].clone();
    assert_eq!(accuracy("run"), accuracy(&trained().display().to_string()));
}

#[test]
fn mnist_files_are_found_and_remembered() {
    let dir = folder();
    let data = dir.path().join("data");
    fs::create_dir(&data).expect("writable");
    mnist(&data);
    let train = call(dir.path(), "train mlp --data mnist --data-dir data --epochs 1 --out run").ok();
    assert!(train.stderr.contains("36 training, 4 validation and 40 test images"), "{}", train.stderr);
    let elsewhere = folder();
    let run = dir.path().join("run");
    let eval = call(elsewhere.path(), &format!("eval {} --json", run.display())).ok().json();
    assert_eq!((&eval["data"], &eval["examples"]), (&"mnist".into(), &40.into()));
}

#[test]
fn pictures_of_any_size_are_classified_on_dark_and_on_paper() {
    let dir = folder();
    for class in 0..10 {
        let pixels = digit(class);
        png(&dir.path().join(format!("{class}.png")), &pixels, 1, |v| v);
        png(&dir.path().join(format!("{class}-large.png")), &pixels, 5, |v| v);
        png(&dir.path().join(format!("{class}-paper.png")), &pixels, 1, |v| 255 - v);
        png(&dir.path().join(format!("{class}-large-paper.png")), &pixels, 5, |v| {
            230 - (u32::from(v) * 200 / 255) as u8
        });
    }
    let run = trained().display();
    let top = |suffix: &str| -> Vec<u64> {
        let files: Vec<String> = (0..10).map(|class| format!("{class}{suffix}.png")).collect();
        let answers =
            call(dir.path(), &format!("predict {run} {} --json --top 10", files.join(" "))).ok().json();
        let answers = answers.as_array().expect("an array").clone();
        let per_file = answers.iter().zip(&files).map(|(answer, file)| {
            assert_eq!(answer["file"], file.as_str());
            let predictions = answer["predictions"].as_array().expect("an array");
            let total: f64 = predictions.iter().map(|p| p["probability"].as_f64().expect("a number")).sum();
            assert!((total - 1.0).abs() < 1e-4, "{answer}");
            assert_eq!(predictions[0]["label"], predictions[0]["class"].to_string());
            predictions[0]["class"].as_u64().expect("a number")
        });
        per_file.collect()
    };
    let right = |top: &[u64]| top.iter().enumerate().filter(|(class, top)| *class as u64 == **top).count();
    for suffix in ["", "-large", "-paper", "-large-paper"] {
        let top = top(suffix);
        assert!(right(&top) >= 7, "{suffix}: {top:?}");
    }
    assert_eq!(top("-paper"), top(""));
    let table = call(dir.path(), &format!("predict {run} 7.png 3.png --top 2")).ok().stdout;
    assert_eq!(table.lines().count(), 5, "{table}");
    assert!(table.contains("7.png") && table.contains(" %"), "{table}");
}

#[test]
fn good_pictures_are_answered_beside_bad_ones() {
    let dir = folder();
    png(&dir.path().join("good.png"), &digit(3), 1, |v| v);
    fs::write(dir.path().join("letter.png"), "Dear Sir or Madam").expect("writable");
    let run = trained().display();
    let mixed = call(dir.path(), &format!("predict {run} letter.png good.png absent.png --json"));
    let mixed = mixed.fails(&["2 of 3 files", "letter.png: not a PNG", "absent.png"]);
    assert_eq!(mixed.json().as_array().expect("an array").len(), 1);
    call(dir.path(), &format!("predict {run} letter.png")).fails(&["error: letter.png: not a PNG"]);
}

#[test]
fn photos_are_named_by_the_classes_of_the_weights_source() {
    let dir = folder();
    let store = nn_core::ParamStore::new(3);
    let entry = nn_vision::find("cifar_resnet20").expect("a model of the zoo");
    (entry.build)(store.vb(candle_core::DType::F32, &Device::Cpu), 10).expect("a network");
    let ripples = |x: u32, y: u32| image::Rgb([x * 7, y * 5, x * y].map(|v| (v % 256) as u8));
    image::RgbImage::from_fn(50, 40, ripples).save(dir.path().join("photo.png")).expect("a writable folder");
    let words = |weights: &str| format!("predict cifar_resnet20 --weights {weights} photo.png --json");
    let answer = |weights: &str, rest: &str| {
        store.save(dir.path().join(weights)).expect("a writable folder");
        call(dir.path(), &format!("{} {rest}", words(weights))).ok()
    };
    let unknown = answer("mine.safetensors", "");
    assert!(unknown.stderr.contains("note: ") && unknown.stderr.contains("32×32"), "{}", unknown.stderr);
    let known = answer("resnet20-12fca82f.safetensors", "");
    let chosen = answer("mine.safetensors", "--source resnet20-12fca82f");
    for told in [&known, &chosen] {
        assert!(told.stderr.is_empty(), "{}", told.stderr);
        let predictions = &told.json()[0]["predictions"];
        assert_eq!(predictions.as_array().expect("an array").len(), 5);
        for prediction in predictions.as_array().expect("an array") {
            let label = nn_vision::labels::CIFAR10[prediction["class"].as_u64().expect("a number") as usize];
            assert_eq!(prediction["label"], label);
        }
        assert_eq!(told.stdout, unknown.stdout);
    }
    let other = format!("{} --source resnet20-12fca82e", words("mine.safetensors"));
    call(dir.path(), &other).fails(&["did you mean `resnet20-12fca82f`?"]);
    let bytes = fs::read(dir.path().join("photo.png")).expect("a picture");
    fs::write(dir.path().join("photo.png"), &bytes[..bytes.len() / 2]).expect("a writable folder");
    call(dir.path(), &words("mine.safetensors")).fails(&["error: photo.png: not a whole picture"]);
}

#[test]
fn raw_tensors_go_through_a_model_once() -> candle_core::Result<()> {
    let dir = folder();
    let path = |name: &str| dir.path().join(name);
    let write = |name: &str, key: &str, t: Tensor| {
        safetensors::write(&path(name), &BTreeMap::from([(key.to_owned(), t)]))
    };
    let weights = "w.safetensors";
    let store = nn_core::ParamStore::new(3);
    let entry = nn_vision::find("lenet5").expect("a model of the zoo");
    let model = (entry.build)(store.vb(candle_core::DType::F32, &Device::Cpu), 10)?;
    store.save(path(weights))?;
    let x = Tensor::arange(0f32, 2.0 * 784.0, &Device::Cpu)?.reshape((2, 1, 28, 28))?.affine(1e-3, -0.5)?;
    write("x.safetensors", "input", x.clone())?;
    let words = "forward lenet5 --weights w.safetensors --input x.safetensors --output y.safetensors";
    let told = call(dir.path(), words).ok();
    assert!(told.stdout.contains("2×1×28×28 → 2×10"), "{}", told.stdout);
    let y = &safetensors::read(&path("y.safetensors"))?["output"];
    let expected = nn_core::Layer::call(&model, &x, &nn_core::Ctx::eval())?;
    assert_eq!(y.to_vec2::<f32>()?, expected.to_vec2::<f32>()?);
    call(dir.path(), words).fails(&["y.safetensors exists"]);
    let other = |input: &str| words.replace("x.safetensors", input).replace("y.safetensors", "z.safetensors");
    write("wide.safetensors", "input", x.reshape((1, 2, 28, 28))?)?;
    call(dir.path(), &other("wide.safetensors")).fails(&["takes B×1×28×28, the input is 1×2×28×28"]);
    write("named.safetensors", "image", x.clone())?;
    call(dir.path(), &other("named.safetensors")).fails(&["no tensor `input`", "image"]);
    write("bytes.safetensors", "input", x.to_dtype(candle_core::DType::U8)?)?;
    call(dir.path(), &other("bytes.safetensors")).fails(&["must hold floats"]);
    call(dir.path(), &words.replace("y.saf", "z.saf").replace("lenet5", "cnn"))
        .fails(&["does not fit the model"]);
    assert!(!path("z.safetensors").exists());
    Ok(())
}
