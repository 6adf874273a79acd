//! `livetranslate serve`: the gateway, until it is told to stop.

use std::path::PathBuf;

use super::fault::Fault;
use super::signals;
use crate::config::Config;
use crate::config::sources::Sources;
use crate::{app, logs};

/// Serves until SIGINT or SIGTERM, then drains.
///
/// # Errors
/// Bad settings; a store or an address that can't be had; usage that could not be written at the end.
pub async fn run(config: Option<PathBuf>) -> Result<(), Fault> {
    let loaded = Config::load(&Sources::of_process(config))?;
    logs::start(&loaded.config.log).map_err(Fault::of("the log could not be opened"))?;
    for note in &loaded.notes {
        log::warn!("{note}");
    }
    let running = app::start(loaded.config).await?;
    signals::ended().await.map_err(Fault::of("signals could not be listened to"))?;
    if running.stop().await { Ok(()) } else { Err(Fault::Failed("some usage could not be written".to_owned())) }
}
