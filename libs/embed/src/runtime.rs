//! ONNX Runtime, loaded once per process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;

use crate::EmbedError;
use crate::location::no_runtime;

/// Kept for the life of the process: ONNX Runtime allows one environment at a time and one library ever.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// Loads the library at `path` and gives its environment, or the one that an earlier call made.
pub(crate) fn environment(path: &Path) -> Result<Environment, EmbedError> {
    let mut slot = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = &*slot {
        return Ok(environment.clone());
    }
    // `ort` looks for relative paths beside the executable first, which is not what a relative path means.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // `ort` asserts on libraries that only pretend to be ONNX Runtime.
    let environment = catch_unwind(AssertUnwindSafe(|| {
        let builder = ort::init_from(&path).map_err(|error| {
            no_runtime(&format!("ONNX Runtime cannot be loaded: {}", error.to_string().replace('\n', " ")))
        })?;
        builder.with_name("signalbox").with_telemetry(false).build().map_err(|error| EmbedError::Broken {
            what: format!("ONNX Runtime at {}", path.display()),
            reason: error.to_string(),
        })
    }))
    .unwrap_or(Err(EmbedError::Panicked))?;
    Ok(slot.insert(environment).clone())
}
