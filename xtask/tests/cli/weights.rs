//! Files of weights: looked into, converted, compared, and used as they are.

use std::fs;
use std::path::PathBuf;

use crate::stage::{call, folder, trained};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/torch").join(name)
}

#[test]
fn inspect_tells_what_a_file_is() {
    let dir = folder();
    let file = golden("nested.pt");
    let told = call(dir.path(), &format!("inspect {}", file.display())).ok().stdout;
    for part in [
        "PyTorch (zip)",
        "inside   state_dict",
        "prefix   module.",
        "args, accuracy, optimizer",
        "0.weight",
        "4×3",
        "i64",
    ] {
        assert!(told.contains(part), "{part} is not in:\n{told}");
    }
    let told = call(dir.path(), &format!("inspect {} --json", file.display())).ok().json();
    assert_eq!(told["metadata"]["epoch"], "24");
    let counter = told["tensors"]
        .as_array()
        .expect("rows")
        .iter()
        .find(|row| row["dtype"] == "i64")
        .expect("a counter");
    assert_eq!((counter["mean"].as_f64(), counter["deviation"].as_f64()), (Some(1.0), Some(0.0)));
    call(dir.path(), &format!("inspect {}", golden("model.pt").display())).fails(&["Linear is refused"]);
    call(dir.path(), "inspect absent.pt").fails(&["absent.pt"]);
    call(dir.path(), "inspect .").fails(&["directory"]);
}

/// Of the shapes that recipes give: `likely.rs` has the others.
#[test]
fn inspect_knows_what_a_run_trained() {
    let dir = folder();
    let run = trained().display();
    let told = call(dir.path(), &format!("inspect {run}")).ok().stdout;
    assert!(told.contains("network") && told.contains("mlp: 784 → "), "{told}");
    let told = call(dir.path(), &format!("inspect {run} --json")).ok().json();
    assert_eq!(told["network"]["kind"], "mlp");
    call(dir.path(), &format!("eval lenet5 --weights {run}/model.safetensors"))
        .fails(&["these are weights of another network (mlp: 784 → "]);
}

#[test]
fn inspect_knows_the_models_of_the_zoo() -> candle_core::Result<()> {
    let dir = folder();
    let store = nn_core::ParamStore::new(3);
    let entry = nn_vision::find("cifar_resnet20").expect("a model of the zoo");
    (entry.build)(store.vb(candle_core::DType::F32, &candle_core::Device::Cpu), 7)?;
    store.save(dir.path().join("w.safetensors"))?;
    let told = call(dir.path(), "inspect w.safetensors").ok().stdout;
    assert!(told.contains("cifar_resnet20 for 7 classes"), "{told}");
    call(dir.path(), "eval lenet5 --weights w.safetensors")
        .fails(&["these are weights of `cifar_resnet20` for 7 classes"]);
    Ok(())
}

#[test]
fn weights_go_to_pytorch_and_back_to_the_byte() {
    let dir = folder();
    let ours = trained().join("model.safetensors").display().to_string();
    let bytes = |name: &str| fs::read(dir.path().join(name)).expect("a file");
    call(dir.path(), &format!("convert {ours} there.pt")).ok();
    call(dir.path(), "convert there.pt back.safetensors").ok();
    call(dir.path(), "convert there.pt again.safetensors").ok();
    assert!(bytes("back.safetensors") == bytes("again.safetensors"));
    let same = call(dir.path(), &format!("diff {ours} back.safetensors")).ok().stdout;
    assert!(same.trim().ends_with("tensors are the same"), "{same}");
    let run = trained().display();
    let figures =
        |words: &str| call(dir.path(), &format!("eval {run} {words} --json")).ok().json()["loss"].clone();
    assert_eq!(figures(""), figures("--weights there.pt"));
}

#[test]
fn convert_changes_types_notes_facts_and_writes_over_nothing() {
    let dir = folder();
    let ours = trained().join("model.safetensors").display().to_string();
    let words = format!("convert {ours} half.safetensors --dtype f16 --note licence=MIT");
    call(dir.path(), &words).ok();
    call(dir.path(), &words).fails(&["half.safetensors exists", "--force"]);
    call(dir.path(), &format!("{words} --force")).ok();
    let told = call(dir.path(), "inspect half.safetensors --json").ok().json();
    assert_eq!(
        (&told["metadata"]["licence"], &told["metadata"]["source"]),
        (&"MIT".into(), &"a training run: mlp on digits".into())
    );
    assert!(told["tensors"].as_array().expect("rows").iter().all(|row| row["dtype"] == "f16"));
    let told = call(dir.path(), &format!("diff {ours} half.safetensors --json")).ok().json();
    let largest = told["largest"].as_f64().expect("a number");
    assert!(largest > 0.0 && largest < 1e-3, "{largest}");
    call(dir.path(), &format!("convert {ours} there.onnx"))
        .fails(&["does not say what to make", ".safetensors"]);
    call(dir.path(), &format!("convert {ours} there.pt --note a=b")).fails(&["--note"]);
    assert_eq!(call(dir.path(), &format!("convert {ours} there.pt --note a")).code, Some(2));
    call(dir.path(), "convert absent.pt there.pt").fails(&["absent.pt"]);
    assert!(!dir.path().join("there.pt").exists());
}

#[test]
fn diff_names_what_differs() {
    let dir = folder();
    let [a, b] = ["nested.pt", "state.pt"].map(golden);
    let told = call(dir.path(), &format!("diff {} {}", a.display(), b.display())).ok().stdout;
    for part in ["0.weight", "only in A", "bf16", "only in B", "0 tensors are the same"] {
        assert!(told.contains(part), "{part} is not in:\n{told}");
    }
}

/// The library's names are ours where the other file has ours.
#[test]
fn diff_compares_what_libraries_call_otherwise() -> candle_core::Result<()> {
    let dir = folder();
    let store = nn_core::ParamStore::new(3);
    let entry = nn_vision::find("mobilenet_v2_0.35").expect("a model of the zoo");
    (entry.build)(store.vb(candle_core::DType::F32, &candle_core::Device::Cpu), 10)?;
    store.save(dir.path().join("ours.safetensors"))?;
    call(dir.path(), "convert ours.safetensors theirs.pt --to timm").ok();
    let told = call(dir.path(), "diff theirs.pt ours.safetensors").ok();
    assert!(told.stdout.trim().ends_with("tensors are the same"), "{}", told.stdout);
    assert!(told.stderr.contains("the names of A are timm's, and shown as ours"), "{}", told.stderr);
    Ok(())
}

#[test]
fn export_makes_a_model_of_a_run_and_of_weights() -> candle_core::Result<()> {
    let dir = folder();
    let told = call(dir.path(), &format!("export {} --onnx run.onnx", trained().display())).ok().stdout;
    assert!(told.contains("run.onnx: B×1×28×28 → B×10"), "{told}");
    let told = call(dir.path(), "inspect run.onnx --json").ok().json();
    assert_eq!(told["metadata"]["source"], "a training run: mlp on digits");
    call(dir.path(), "export mlp --onnx run.onnx").fails(&["run.onnx exists", "--force"]);
    // Weights that TensorFlow made, known by the file's name, want its padding.
    let store = nn_core::ParamStore::new(3);
    let entry = nn_vision::find("mobilenet_v2").expect("a model of the zoo");
    (entry.build)(store.vb(candle_core::DType::F32, &candle_core::Device::Cpu), 1000)?;
    let outputs = ["mobilenet_v2_imagenet_dequantized", "other"].map(|name| {
        store.save(dir.path().join(format!("{name}.safetensors"))).expect("a folder");
        let words = format!("--weights {name}.safetensors --onnx {name}.onnx --example {name}.example");
        call(dir.path(), &format!("export mobilenet_v2 {words}")).ok();
        let example = nn_core::weights::safetensors::read(&dir.path().join(format!("{name}.example")));
        example.expect("an example")["output"]
            .flatten_all()
            .and_then(|y| y.to_vec1::<f32>())
            .expect("numbers")
    });
    assert_ne!(outputs[0], outputs[1]);
    Ok(())
}
