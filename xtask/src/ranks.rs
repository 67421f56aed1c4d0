//! The processes of one `train`: this one, or all that `mpirun` started. Rank 0 speaks for them.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use nn_train::{Alone, Ranks, TrainError};

use crate::{failure, output};

/// In what MPIs tell the processes they start how many there are: Open MPI, and those with a PMI (MPICH, Intel's).
const SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];

/// What a process is told that PMIx starts, Slurm's `srun` for one, and how many Slurm has started: PMIx does not tell.
const PMIX: &str = "PMIX_RANK";
const SLURM: [&str; 2] = ["SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"];

/// What is wrong has been told, by this rank or another.
#[derive(Debug)]
pub(crate) struct Elsewhere;

impl std::fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a rank failed")
    }
}

impl std::error::Error for Elsewhere {}

/// Finds the others. From here on all but rank 0 are silent.
pub(crate) fn start() -> Result<Arc<dyn Ranks>> {
    if !are_several(|name| env::var(name).ok()) {
        return Ok(Arc::new(Alone));
    }
    let ranks = speak_mpi()?;
    if ranks.shard().index > 0 {
        output::silence();
    }
    Ok(ranks)
}

/// Whether this process has others beside it, by its environment. A job of one task needs no MPI, whoever started it.
fn are_several(told: impl Fn(&str) -> Option<String>) -> bool {
    let slurm: &[&str] = if told(PMIX).is_some() { &SLURM } else { &[] };
    match SIZES.iter().chain(slurm).find_map(|name| told(name)) {
        Some(size) => size.trim() != "1",
        // Several of something; if there is but one, MPI will say so.
        None => told(PMIX).is_some(),
    }
}

#[cfg(feature = "mpi")]
fn speak_mpi() -> Result<Arc<dyn Ranks>> {
    Ok(Arc::new(nn_train::Mpi::start()?))
}

/// Becomes a build of this program that can.
#[cfg(all(unix, not(feature = "mpi")))]
fn speak_mpi() -> Result<Arc<dyn Ranks>> {
    use std::os::unix::process::CommandExt;

    use crate::workspace;

    let manifest = workspace::root().join("Cargo.toml");
    let mut cargo = std::process::Command::new(workspace::cargo());
    cargo.args(["run", "--quiet", "--release", "--package", "xtask", "--features", "mpi", "--manifest-path"]);
    let error = cargo.arg(manifest).arg("--").args(env::args_os().skip(1)).exec();
    Err(error).context("cannot start cargo for a build with the feature `mpi`")
}

#[cfg(not(any(unix, feature = "mpi")))]
fn speak_mpi() -> Result<Arc<dyn Ranks>> {
    use crate::failure::{Advise, failed};

    Err(failed("mpirun started this, and it was built without MPI"))
        .advise("cargo run --release -p xtask --features mpi -- train …")
}

/// The error of one rank as that of all: who has it tells it and ends the job, the others wait for that.
pub(crate) fn fail(ranks: &dyn Ranks, error: anyhow::Error) -> anyhow::Error {
    let rank = ranks.shard();
    let elsewhere = |cause: &(dyn std::error::Error + 'static)| {
        matches!(cause.downcast_ref(), Some(TrainError::Elsewhere { .. }))
    };
    if rank.of == 1 {
        return error;
    }
    if error.chain().any(elsewhere) {
        return Elsewhere.into();
    }
    // Most errors are those of all, and then rank 0 has told it and ended the job before this is over.
    if rank.index > 0 {
        sleep(Duration::from_millis(300));
    }
    output::alarm(format_args!("rank {} of {}: {}", rank.index, rank.of, failure::report(&error).trim_end()));
    ranks.abort();
    Elsewhere.into()
}

/// What rank 0 says.
pub(crate) fn lead(ranks: &dyn Ranks, own: PathBuf) -> Result<PathBuf> {
    if ranks.shard().of == 1 {
        return Ok(own);
    }
    let mut all = ranks.gather(own.as_os_str().as_encoded_bytes())?;
    Ok(String::from_utf8(all.swap_remove(0)).context("the run's folder has a name that is no text")?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_one_task_is_one_process() {
        for (environment, several) in [
            (&[][..], false),
            (&[("OMPI_COMM_WORLD_SIZE", "2"), ("PMIX_RANK", "1")], true),
            (&[("OMPI_COMM_WORLD_SIZE", "1"), ("PMIX_RANK", "0")], false),
            (&[("PMI_SIZE", "4")], true),
            (&[("PMI_SIZE", "1")], false),
            // `srun` with PMIx, of one task and of two.
            (&[("PMIX_RANK", "0"), ("SLURM_STEP_NUM_TASKS", "1"), ("SLURM_NTASKS", "8")], false),
            (&[("PMIX_RANK", "0"), ("SLURM_NTASKS", "1")], false),
            (&[("PMIX_RANK", "0"), ("SLURM_STEP_NUM_TASKS", "2")], true),
            // A batch script is one process, of however many tasks its job is, and `mpirun` counts within it.
            (&[("SLURM_NTASKS", "8")], false),
            (&[("SLURM_NTASKS", "1"), ("OMPI_COMM_WORLD_SIZE", "2")], true),
            (&[("PMIX_RANK", "0")], true),
        ] {
            let told = |name: &str| {
                let found = environment.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(are_several(told), several, "{environment:?}");
        }
    }
}
