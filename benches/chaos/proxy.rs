//! A TCP proxy on loopback that breaks connections on demand: a cut, a reset, a stall, a line that is half open.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::rc::{Rc, Weak};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::spawn_local;

/// What happens to the bytes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They pass.
    Open,
    /// They wait where they are.
    Stalled,
    /// They are taken and vanish, and no end is passed on either.
    HalfOpen,
    /// The line ends in good form: FIN on both sides.
    Cut,
    /// The line ends by a reset on both sides.
    Reset,
}

/// One connection through the proxy.
pub(crate) struct Line {
    /// Who opened it.
    pub(crate) near: SocketAddr,
    /// Where the far side sees it come from.
    pub(crate) far: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Line {
    /// From now on its bytes fare like this. A line that has ended stays so.
    pub(crate) fn set(&self, mode: Mode) {
        let ended = |mode: Mode| matches!(mode, Mode::Cut | Mode::Reset);
        self.mode.send_if_modified(|now| {
            let changes = !ended(*now) && *now != mode;
            if changes {
                *now = mode;
            }
            changes
        });
    }
}

/// A door on loopback, and every line that leads from it.
#[derive(Clone)]
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Rc<Shared>,
}

struct Shared {
    target: Cell<SocketAddr>,
    /// What newcomers meet: a line of this kind.
    door: Cell<Mode>,
    lines: RefCell<Vec<Weak<Line>>>,
}

impl Proxy {
    /// Listens on a free port and leads to `target`.
    pub(crate) async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared =
            Rc::new(Shared { target: Cell::new(target), door: Cell::new(Mode::Open), lines: RefCell::default() });
        spawn_local(accept(listener, shared.clone()));
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads new lines elsewhere.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        self.shared.target.set(target);
    }

    /// What new lines meet from now on.
    pub(crate) fn set_door(&self, mode: Mode) {
        self.shared.door.set(mode);
    }

    /// The lines that live.
    pub(crate) fn lines(&self) -> Vec<Rc<Line>> {
        let mut lines = self.shared.lines.borrow_mut();
        lines.retain(|line| line.strong_count() > 0);
        lines.iter().filter_map(Weak::upgrade).collect()
    }

    /// The line that was opened from there.
    pub(crate) fn line_from(&self, near: SocketAddr) -> Option<Rc<Line>> {
        self.lines().into_iter().find(|line| line.near == near)
    }

    /// The line that the far side sees come from there.
    pub(crate) fn line_seen_as(&self, far: SocketAddr) -> Option<Rc<Line>> {
        self.lines().into_iter().find(|line| line.far == far)
    }

    /// What happens to every line that lives, and to new ones.
    pub(crate) fn set_all(&self, mode: Mode) {
        self.set_door(mode);
        self.lines().iter().for_each(|line| line.set(mode));
    }
}

async fn accept(listener: TcpListener, shared: Rc<Shared>) {
    loop {
        let Ok((near, peer)) = listener.accept().await else { continue };
        spawn_local(open(near, peer, shared.clone()));
    }
}

async fn open(near: TcpStream, peer: SocketAddr, shared: Rc<Shared>) {
    let door = shared.door.get();
    if matches!(door, Mode::Cut | Mode::Reset) {
        return end(&near, door).await;
    }
    let Ok(far) = TcpStream::connect(shared.target.get()).await else {
        return end(&near, Mode::Reset).await;
    };
    let Ok(seen_as) = far.local_addr() else { return };
    for stream in [&near, &far] {
        // Only a socket that is gone already refuses.
        stream.set_nodelay(true).unwrap_or_default();
    }
    let (mode, changes) = watch::channel(door);
    let line = Rc::new(Line { near: peer, far: seen_as, mode });
    shared.lines.borrow_mut().push(Rc::downgrade(&line));
    let carried = async {
        let (there, back) = tokio::join!(carry(&near, &far, changes.clone()), carry(&far, &near, changes.clone()));
        if there.and(back).is_ok() { Mode::Cut } else { Mode::Reset }
    };
    let how = tokio::select! {
        how = carried => how,
        how = ended(changes.clone()) => how,
    };
    drop(line);
    tokio::join!(end(&near, how), end(&far, how));
}

/// Returns when the line is to end.
async fn ended(mut changes: watch::Receiver<Mode>) -> Mode {
    match changes.wait_for(|mode| matches!(mode, Mode::Cut | Mode::Reset)).await {
        Ok(mode) => *mode,
        Err(_) => Mode::Reset,
    }
}

/// Moves bytes one way, to the end of that direction.
async fn carry(from: &TcpStream, to: &TcpStream, mut changes: watch::Receiver<Mode>) -> io::Result<()> {
    const CHUNK: usize = 16 * 1024;
    let mut chunk = vec![0; CHUNK];
    loop {
        moving(&mut changes).await;
        from.readable().await?;
        moving(&mut changes).await;
        let read = match from.try_read(&mut chunk) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let lost = *changes.borrow() == Mode::HalfOpen;
        match (read, lost) {
            (0, true) => std::future::pending().await,
            (0, false) => return SockRef::from(to).shutdown(Shutdown::Write),
            (_, true) => {}
            (_, false) => deliver(chunk.get(..read).unwrap_or_default(), to).await?,
        }
    }
}

/// Waits while the line stalls.
async fn moving(changes: &mut watch::Receiver<Mode>) {
    // The sender outlives the line's task.
    drop(changes.wait_for(|mode| *mode != Mode::Stalled).await);
}

async fn deliver(mut bytes: &[u8], to: &TcpStream) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Ends one side. What it still says is read for a while: closing over unread bytes would be a reset.
async fn end(stream: &TcpStream, how: Mode) {
    const FAREWELL: Duration = Duration::from_secs(2);
    let socket = SockRef::from(stream);
    if how == Mode::Reset {
        return socket.set_linger(Some(Duration::ZERO)).unwrap_or_default();
    }
    if socket.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let mut rest = [0; 4_096];
    let reading = async {
        while stream.readable().await.is_ok() {
            match stream.try_read(&mut rest) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    // Whoever keeps silent that long is left behind.
    drop(tokio::time::timeout(FAREWELL, reading).await);
}
