//! The command `orion`.

use std::process::ExitCode;

use clap::Parser as _;
use orion_api::config::Config;
use orion_api::{server, telemetry};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit status of a wrong setting, or of a server that could not start.
const CANNOT_START: u8 = 2;

fn main() -> ExitCode {
    let config = Config::parse();
    if let Err(error) = telemetry::start(&config) {
        eprintln!("orion: {error}");
        return ExitCode::from(CANNOT_START);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("orion: no threads: {error}");
            return ExitCode::from(CANNOT_START);
        }
    };
    match runtime.block_on(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("orion: {error}");
            ExitCode::from(CANNOT_START)
        }
    }
}

async fn run(config: Config) -> Result<(), Box<dyn std::error::Error>> {
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
    server::run(config, stop).await?;
    Ok(())
}
