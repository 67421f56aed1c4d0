//! The processes of one `train`: this one, or all that `mpirun` started. Rank 0 speaks for them.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use nn_train::{Alone, Ranks, TrainError};

use crate::{failure, output};

/// What MPIs tell the processes they start: Open MPI, those with a PMI (MPICH, Intel's), those with PMIx (Slurm's `srun`).
const LAUNCHED: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"];

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
    let several = |name: &&str| env::var(name).is_ok_and(|ranks| ranks != "1" || name.ends_with("RANK"));
    if !LAUNCHED.iter().any(several) {
        return Ok(Arc::new(Alone));
    }
    let ranks = speak_mpi()?;
    if ranks.shard().index > 0 {
        output::silence();
    }
    Ok(ranks)
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
