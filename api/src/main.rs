//! The command `orion`.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory as _, Parser as _};
use metrics_exporter_prometheus::PrometheusHandle;
use orion_api::config::Config;
use orion_api::{maintenance, server, telemetry};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Answers are made of many small values that live shortly: libc's allocator took a tenth of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit status of a wrong setting, or of a server that could not start.
const CANNOT_START: u8 = 2;

fn main() -> ExitCode {
    let config = match Config::try_parse() {
        Ok(config) => config,
        Err(error) => return refused(&error),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("orion: no threads: {error}");
            return ExitCode::from(CANNOT_START);
        }
    };
    let telemetry = match telemetry::start(&config, runtime.handle()) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("orion: {error}");
            return ExitCode::from(CANNOT_START);
        }
    };
    let ended = runtime.block_on(run(config, telemetry.figures.clone()));
    telemetry.stop();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("orion: {error}");
            ExitCode::from(CANNOT_START)
        }
    }
}

/// Prints help as it is, and a wrong setting as one line that names its variable.
fn refused(error: &clap::Error) -> ExitCode {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        Some(_) | None => "",
    };
    let argument = text(ContextKind::InvalidArg);
    let flag = argument.trim_start_matches("--").split_whitespace().next().unwrap_or_default();
    let command = Config::command();
    let known = command.get_arguments().find(|known| known.get_long() == Some(flag));
    let Some(variable) = known.and_then(|known| known.get_env()).filter(|_| error.use_stderr())
    else {
        error.exit();
    };
    let problem = match (std::error::Error::source(error), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => source.to_string(),
        (None, Some(ContextValue::Strings(valid))) => format!("it is one of {}", valid.join(", ")),
        (None, _) => "it is not of its kind".to_owned(),
    };
    let value = text(ContextKind::InvalidValue);
    eprintln!("orion: {}: {value:?} is refused: {problem}", variable.to_string_lossy());
    ExitCode::from(CANNOT_START)
}

async fn run(config: Config, figures: PrometheusHandle) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(command) = config.command {
        return maintenance::run(&config, command).await;
    }
    let stop = CancellationToken::new();
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let on_signal = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        on_signal.cancel();
    });
    server::run(config, figures, stop).await?;
    Ok(())
}
