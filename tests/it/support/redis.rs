//! A Redis of a test's own, on a free port of this machine.

use std::cell::RefCell;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use redis::{Client, Connection};
use rustix::process::{Pid, Signal, kill_process};

/// A Redis that keeps nothing on disk and is gone with its test.
pub(crate) struct Redis {
    port: u16,
    process: RefCell<Option<Child>>,
}

impl Redis {
    /// Starts one and waits until it answers.
    pub(crate) fn start() -> Self {
        for _ in 0..20 {
            let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
            let redis = Self { port, process: RefCell::default() };
            // Another program may have taken the port meanwhile.
            if redis.run() {
                return redis;
            }
        }
        panic!("no redis-server could be started")
    }

    /// Runs it again after [`Redis::stop`]; it knows nothing any more.
    pub(crate) fn start_again(&self) {
        assert!(self.run(), "redis-server does not start again on its port");
    }

    /// Kills it.
    pub(crate) fn stop(&self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Lets it answer nothing until [`Redis::thaw`]; its connections stay open.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.borrow();
        kill_process(Pid::from_child(process.as_ref().unwrap()), signal).unwrap();
    }

    /// REDIS_URL.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection beside the gateways'.
    pub(crate) fn connection(&self) -> Connection {
        Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    fn run(&self) -> bool {
        let port = self.port.to_string();
        let arguments = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let mut process = Command::new("redis-server")
            .args(arguments)
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("these tests need redis-server ({error}): run ./tests/run.sh"));
        loop {
            if process.try_wait().unwrap().is_some() {
                return false;
            }
            let answers = Client::open(self.url()).unwrap().get_connection();
            if answers.is_ok_and(|mut connection| redis::cmd("PING").exec(&mut connection).is_ok()) {
                self.process.replace(Some(process));
                return true;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}
