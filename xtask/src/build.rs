//! `build`: the whole workspace, or a type-check of what a feature adds to it.
//!
//! A feature for a device is checked, not linked: that works on a machine that has the compiler of the device and not the
//! device, a laptop or a continuous-integration runner say.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::failure::{Advise, failed};
use crate::output;
use crate::workspace::Cargo;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Type-check the workspace and its tests with these features
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
    features: Vec<Feature>,
    /// The folder of the CUDA toolkit, the one with `bin/nvcc` [default: CUDA_HOME, CUDA_PATH, CUDA_ROOT, where nvcc is,
    /// /usr/local/cuda]
    #[arg(long, value_name = "DIR")]
    toolkit: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Feature {
    Cuda,
    Metal,
    Mpi,
}

impl Feature {
    fn name(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::Metal => "metal",
            Self::Mpi => "mpi",
        }
    }
}

/// For kernels that no card on this machine will run: the A100's, which newer cards run too.
const COMPUTE_CAPABILITY: &str = "80";

const HOMES: [&str; 3] = ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"];

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.features.is_empty() {
        return Cargo { args: vec!["build", "--release", "--workspace"], environment: &[] }.run();
    }
    let environment =
        if args.features.contains(&Feature::Cuda) { cuda(args.toolkit.as_deref())? } else { Vec::new() };
    let environment: Vec<(&str, &str)> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let names: Vec<&str> = args.features.iter().map(|feature| feature.name()).collect();
    let names = names.join(",");
    let check = ["check", "--release", "--workspace", "--all-targets", "--features", &names];
    Cargo { args: check.to_vec(), environment: &environment }.run()
}

/// What the build scripts of Candle's CUDA crates read.
fn cuda(toolkit: Option<&Path>) -> Result<Vec<(&'static str, String)>> {
    let home = match toolkit {
        Some(given) => has_compiler(given).then(|| given.to_owned()),
        None => candidates().into_iter().find(|home| has_compiler(home)),
    };
    let home = home
        .ok_or_else(|| failed(missing(toolkit)))
        .advise(
            "install the CUDA toolkit; or, without a GPU, `pip install nvidia-cuda-nvcc nvidia-cuda-crt nvidia-nvvm \
             nvidia-cuda-runtime nvidia-cuda-cccl` and name the folder `nvidia/cu13` in its site-packages with --toolkit",
        )?
        .canonicalize()
        .context("cannot follow the toolkit's path")?;
    let bin = home.join("bin");
    let paths = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(std::iter::once(bin).chain(env::split_paths(&paths)))
        .context("the toolkit's path cannot stand in PATH")?;
    let mut environment: Vec<(&str, String)> =
        HOMES.map(|name| (name, home.to_string_lossy().into_owned())).into();
    environment.push(("PATH", path.to_string_lossy().into_owned()));
    if env::var_os("CUDA_COMPUTE_CAP").is_none() && !has_card() {
        output::note(format!(
            "no card here: kernels are compiled for compute capability {COMPUTE_CAPABILITY}"
        ));
        environment.push(("CUDA_COMPUTE_CAP", COMPUTE_CAPABILITY.to_owned()));
    }
    Ok(environment)
}

fn missing(toolkit: Option<&Path>) -> String {
    match toolkit {
        Some(given) => format!("--toolkit {}: there is no bin/nvcc", given.display()),
        None => {
            format!("no CUDA compiler: looked for bin/nvcc in {}, PATH, /usr/local/cuda", HOMES.join(", "))
        }
    }
}

fn candidates() -> Vec<PathBuf> {
    let named = HOMES.iter().filter_map(env::var_os).map(PathBuf::from);
    let paths = env::var_os("PATH").unwrap_or_default();
    let beside = env::split_paths(&paths).filter_map(|bin| bin.parent().map(Path::to_owned));
    named.chain(beside).chain([PathBuf::from("/usr/local/cuda")]).collect()
}

fn has_compiler(home: &Path) -> bool {
    home.join("bin/nvcc").is_file()
}

/// Whether Candle's build scripts can ask a card for its compute capability.
fn has_card() -> bool {
    let mut ask = Command::new("nvidia-smi");
    ask.arg("-L").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    ask.status().is_ok_and(|status| status.success())
}
