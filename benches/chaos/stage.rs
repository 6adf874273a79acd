//! Where a row plays: the simulator, the gateway before it, a fault proxy on each side of the gateway.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use livetranslate::simulator::faults::Faults;
use livetranslate::simulator::ledger::SessionRecord as Leg;
use livetranslate::simulator::server::{Options, Simulator};
use livetranslate::simulator::tuning::Tuning;
use rustix::process::{Pid, Signal};

use crate::launch::{Launch, Program};
use crate::program::{PROGRAM, Setup};
use crate::proxy::Proxy;

/// The gateway's program, which may be killed and started again.
pub(crate) struct Gateway {
    setup: Setup,
    program: RefCell<Option<Program>>,
}

impl Gateway {
    /// Starts a gateway.
    pub(crate) async fn start(launch: &Launch, setup: Setup) -> io::Result<Self> {
        let program = setup.start(launch, PROGRAM).await?.0;
        Ok(Self { setup, program: RefCell::new(Some(program)) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.setup.address
    }

    /// Its process.
    pub(crate) fn process(&self) -> io::Result<u32> {
        self.program.borrow().as_ref().map(Program::id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// An error if it has ended by itself.
    pub(crate) fn check(&self) -> io::Result<()> {
        self.program.borrow_mut().as_mut().map_or(Ok(()), Program::check)
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        self.program.replace(None);
    }

    /// Starts it again, with the same port and folder.
    pub(crate) async fn restart(&self, launch: &Launch) -> io::Result<()> {
        let program = self.setup.start(launch, PROGRAM).await?.0;
        self.program.replace(Some(program));
        Ok(())
    }

    /// `SIGTERM`; how it ended, and how long that took. None if it did not end.
    pub(crate) async fn terminate(&self) -> io::Result<Option<(ExitStatus, Duration)>> {
        const ENDS_WITHIN: Duration = Duration::from_secs(60);
        let begun = Instant::now();
        let process = i32::try_from(self.process()?).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        rustix::process::kill_process(process, Signal::TERM)?;
        while begun.elapsed() < ENDS_WITHIN {
            if let Some(program) = self.program.borrow_mut().as_mut()
                && let Some(status) = program.ended()?
            {
                return Ok(Some((status, begun.elapsed())));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(None)
    }
}

/// How a stage differs from the usual one.
#[derive(Default)]
pub(crate) struct Scene {
    /// Settings of the gateway.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// What goes wrong at the upstream.
    pub(crate) faults: Faults,
}

impl Scene {
    /// With this setting.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.settings.push((name, value.into()));
        self
    }
}

/// A row's stage. What it started ends with it.
pub(crate) struct Stage<'a> {
    /// Starts programs.
    pub(crate) launch: &'a Launch,
    /// The system under test.
    pub(crate) gateway: Gateway,
    /// Between customers and gateway.
    pub(crate) front: Proxy,
    /// Between gateway and simulator.
    pub(crate) back: Proxy,
    simulator: Simulator,
}

impl<'a> Stage<'a> {
    /// Sets the stage, with an empty store.
    pub(crate) async fn set(launch: &'a Launch, scene: Scene) -> io::Result<Self> {
        let tuning = Tuning { numbered: true, ..Tuning::default() };
        let simulator = Simulator::start(Options { faults: scene.faults, tuning, ..Options::default() }).await?;
        let back = Proxy::start(simulator.address()).await?;
        let setup = Setup::new(launch, back.address())?;
        let gateway = Gateway::start(launch, with_settings(setup, &scene.settings)).await?;
        let front = Proxy::start(gateway.address()).await?;
        Ok(Self { launch, gateway, front, back, simulator })
    }

    /// A second gateway before the same upstream.
    pub(crate) async fn second(&self, settings: &[(&'static str, String)]) -> io::Result<Gateway> {
        let setup = Setup::new(self.launch, self.back.address())?;
        Gateway::start(self.launch, with_settings(setup, settings)).await
    }

    /// The stand-in provider.
    pub(crate) fn simulator(&self) -> &Simulator {
        &self.simulator
    }

    /// Every connection that the upstream had so far.
    pub(crate) fn legs(&self) -> Vec<Leg> {
        self.simulator.sessions()
    }

    /// Ends it all, gateway first.
    pub(crate) async fn clear(self) {
        self.gateway.kill();
        self.simulator.stop().await;
    }
}

fn with_settings(setup: Setup, settings: &[(&'static str, String)]) -> Setup {
    // With a worker for each core, as it runs by default: clients come back on another thread than they left.
    let usual = setup.with("LIVETRANSLATE__SERVER__WORKERS", "0").with("MAX_SESSIONS", "4000").with("RUST_LOG", "warn");
    settings.iter().fold(usual, |setup, (name, value)| setup.with(name, value))
}
