//! A TCP connection that can be cut, reset, delayed, narrowed and frozen, in one direction or both, and restored.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A direction of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What the client sends.
    ToService,
    /// What the service answers.
    ToClient,
    /// Both.
    Both,
}

impl Way {
    fn covers(self, other: Self) -> bool {
        self == Self::Both || self == other
    }
}

/// How bytes pass in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Flow {
    /// Nothing passes: a hung peer, or a firewall that drops.
    frozen: bool,
    /// Each piece passes after this delay.
    delay: Duration,
    /// At most so many bytes pass in a second.
    bytes_per_second: Option<u32>,
}

/// How the line behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Open {
        to_service: Flow,
        to_client: Flow,
    },
    /// Connections are closed, new ones too; by a reset instead of an end where `reset` says so.
    Cut {
        reset: bool,
    },
}

impl Line {
    const CLEAR: Self = Self::Open {
        to_service: Flow { frozen: false, delay: Duration::ZERO, bytes_per_second: None },
        to_client: Flow { frozen: false, delay: Duration::ZERO, bytes_per_second: None },
    };

    fn flow(self, way: Way) -> Flow {
        match self {
            Self::Open { to_service, .. } if way == Way::ToService => to_service,
            Self::Open { to_client, .. } => to_client,
            Self::Cut { .. } => Flow::default(),
        }
    }
}

/// How the line behaves, and how often its connections were ended for once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    line: Line,
    hang_ups: u64,
}

/// The connections of a line.
#[derive(Debug, Default)]
struct Connections {
    open: AtomicUsize,
    /// Those that clients made, refused ones too.
    made: AtomicU64,
}

/// Where a line leads, and from which address.
#[derive(Debug, Clone, Copy)]
struct Lead {
    target: SocketAddr,
    source: Option<Ipv4Addr>,
}

impl Lead {
    async fn connect(self) -> io::Result<TcpStream> {
        let Some(source) = self.source else { return TcpStream::connect(self.target).await };
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((source, 0)))?;
        socket.connect(self.target).await
    }
}

/// Stands between a client and a service and misbehaves on request. Ends when dropped, with all its connections.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    connections: Arc<Connections>,
    task: JoinHandle<()>,
}

impl TcpProxy {
    /// Listens on a free port of 127.0.0.1 and passes everything on to `target`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        Self::leading(Lead { target, source: None }).await
    }

    async fn leading(lead: Lead) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (state, states) = watch::channel(State { line: Line::CLEAR, hang_ups: 0 });
        let connections = Arc::<Connections>::default();
        let task = tokio::spawn(accept(listener, lead, states, Arc::clone(&connections)));
        Ok(Self { address, state, connections, task })
    }

    /// Listens before a service on 127.0.0.1.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn before(port: u16) -> io::Result<Self> {
        Self::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
    }

    /// As [`TcpProxy::before`]; the service sees its connections come from `source`, an address of this machine's loopback.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn before_as(port: u16, source: Ipv4Addr) -> io::Result<Self> {
        Self::leading(Lead { target: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), source: Some(source) }).await
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.connections.open.load(Ordering::Relaxed)
    }

    /// How many connections clients have made so far, those included that were closed at once.
    pub fn made(&self) -> u64 {
        self.connections.made.load(Ordering::Relaxed)
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `url` with this proxy's port in place of the service's.
    pub fn url(&self, url: &str, port: u16) -> String {
        url.replacen(&format!(":{port}"), &format!(":{}", self.address.port()), 1)
    }

    /// Closes every connection, and each new one as soon as it is made.
    pub fn cut(&self) {
        self.behave(Line::Cut { reset: false });
    }

    /// As [`TcpProxy::cut`], by resets: what was under way is thrown away, and each side gets an error instead of an end.
    pub fn reset(&self) {
        self.behave(Line::Cut { reset: true });
    }

    /// Closes the connections that are open. New ones fare as the line does.
    pub fn hang_up(&self) {
        self.state.send_modify(|state| state.hang_ups += 1);
    }

    /// Keeps connections open and passes nothing on, in either direction. What is sent meanwhile arrives after
    /// [`TcpProxy::restore`], unless the connection is cut before.
    pub fn freeze(&self) {
        self.block(Way::Both);
    }

    /// As [`TcpProxy::freeze`], in one direction.
    pub fn block(&self, way: Way) {
        self.set(way, Flow { frozen: true, ..Flow::default() });
    }

    /// Passes each piece (at most 16 KiB) on only after `delay`.
    pub fn delay(&self, delay: Duration) {
        self.slow(Way::Both, delay);
    }

    /// As [`TcpProxy::delay`], in one direction.
    pub fn slow(&self, way: Way, delay: Duration) {
        self.set(way, Flow { delay, ..Flow::default() });
    }

    /// Passes at most so many bytes per second and connection on.
    pub fn narrow(&self, way: Way, bytes_per_second: u32) {
        self.set(way, Flow { bytes_per_second: Some(bytes_per_second.max(1)), ..Flow::default() });
    }

    /// Passes everything on at once again.
    pub fn restore(&self) {
        self.behave(Line::CLEAR);
    }

    fn behave(&self, line: Line) {
        self.state.send_modify(|state| state.line = line);
    }

    /// The other direction passes everything at once.
    fn set(&self, way: Way, flow: Flow) {
        let of = |direction| if way.covers(direction) { flow } else { Flow::default() };
        self.behave(Line::Open { to_service: of(Way::ToService), to_client: of(Way::ToClient) });
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        // Connections see their side of the watch close.
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, lead: Lead, states: watch::Receiver<State>, connections: Arc<Connections>) {
    while let Ok((client, _)) = listener.accept().await {
        let (states, connections) = (states.clone(), Arc::clone(&connections));
        connections.made.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let state = *states.borrow();
            if let Line::Cut { reset } = state.line {
                if reset {
                    let _ = client.set_zero_linger();
                }
                return;
            }
            let Ok(service) = lead.connect().await else { return };
            let _ = client.set_nodelay(true);
            let _ = service.set_nodelay(true);
            connections.open.fetch_add(1, Ordering::Relaxed);
            carry(client, service, states, state.hang_ups).await;
            connections.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Carries a connection to its end.
async fn carry(mut client: TcpStream, mut service: TcpStream, mut states: watch::Receiver<State>, hang_ups: u64) {
    let reset = {
        let (from_client, to_client) = client.split();
        let (from_service, to_service) = service.split();
        // Either side's end ends both, so that a client sees at once what happened.
        tokio::select! {
            () = pass(from_client, to_service, Way::ToService, states.clone()) => false,
            () = pass(from_service, to_client, Way::ToClient, states.clone()) => false,
            reset = until_cut(&mut states, hang_ups) => reset,
        }
    };
    if reset {
        let _ = client.set_zero_linger();
        let _ = service.set_zero_linger();
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    way: Way,
    mut states: watch::Receiver<State>,
) {
    let mut piece = vec![0; 16 * 1024];
    loop {
        let Ok(read) = from.read(&mut piece).await else { return };
        if read == 0 {
            return;
        }
        let passes = states.wait_for(|state| !state.line.flow(way).frozen).await.map(|state| state.line.flow(way));
        let Ok(flow) = passes else { return };
        let width = flow.bytes_per_second.map_or(Duration::ZERO, |bytes| {
            Duration::from_secs(1).saturating_mul(u32::try_from(read).unwrap_or(u32::MAX)) / bytes
        });
        let wait = flow.delay + width;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}

/// Until the line is cut, hung up more often than so many times, or the proxy is gone; says whether by a reset.
async fn until_cut(states: &mut watch::Receiver<State>, hang_ups: u64) -> bool {
    let over = |state: &State| matches!(state.line, Line::Cut { .. }) || state.hang_ups > hang_ups;
    states.wait_for(over).await.is_ok_and(|state| state.line == Line::Cut { reset: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    async fn says(stream: &mut TcpStream, word: &[u8; 4]) -> bool {
        let mut answer = [0; 4];
        stream.write_all(word).await.is_ok() && stream.read_exact(&mut answer).await.is_ok() && &answer == word
    }

    #[tokio::test]
    async fn a_cut_line_closes_connections_and_a_restored_one_takes_new_ones() {
        let proxy = TcpProxy::start(echo().await).await.expect("a proxy");
        let mut first = TcpStream::connect(proxy.address()).await.expect("connected");
        assert!(says(&mut first, b"ping").await);
        proxy.cut();
        assert_eq!(first.read(&mut [0; 1]).await.unwrap_or(0), 0);
        let mut refused = TcpStream::connect(proxy.address()).await.expect("connected");
        assert!(!says(&mut refused, b"ping").await);
        proxy.restore();
        let mut second = TcpStream::connect(proxy.address()).await.expect("connected");
        assert!(says(&mut second, b"pong").await);
    }

    #[tokio::test]
    async fn a_line_that_is_hung_up_closes_what_is_open_takes_new_connections_and_counts_them() {
        let proxy = TcpProxy::start(echo().await).await.expect("a proxy");
        assert_eq!((proxy.open(), proxy.made()), (0, 0));
        let mut first = TcpStream::connect(proxy.address()).await.expect("connected");
        assert!(says(&mut first, b"ping").await);
        assert_eq!((proxy.open(), proxy.made()), (1, 1));
        proxy.hang_up();
        assert_eq!(first.read(&mut [0; 1]).await.unwrap_or(0), 0);
        let mut second = TcpStream::connect(proxy.address()).await.expect("connected");
        assert!(says(&mut second, b"pong").await);
        assert_eq!((proxy.open(), proxy.made()), (1, 2));
    }

    #[tokio::test]
    async fn a_service_sees_the_address_that_a_line_was_given() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let source = Ipv4Addr::new(127, 0, 1, 7);
        let proxy = TcpProxy::before_as(port, source).await.expect("a proxy");
        let _client = TcpStream::connect(proxy.address()).await.expect("connected");
        let (_, from) = listener.accept().await.expect("a connection");
        assert_eq!(from.ip(), source);
    }

    #[tokio::test]
    async fn a_frozen_line_delivers_after_it_thaws() {
        let proxy = TcpProxy::start(echo().await).await.expect("a proxy");
        let mut stream = TcpStream::connect(proxy.address()).await.expect("connected");
        assert!(says(&mut stream, b"ping").await);
        proxy.freeze();
        let waited = tokio::time::timeout(Duration::from_millis(50), says(&mut stream, b"late")).await;
        assert!(waited.is_err(), "nothing may pass");
        proxy.restore();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.expect("it arrives");
        assert_eq!(&answer, b"late");
    }

    #[tokio::test]
    async fn a_line_that_is_blocked_in_one_direction_still_carries_the_other() {
        let proxy = TcpProxy::start(echo().await).await.expect("a proxy");
        let mut stream = TcpStream::connect(proxy.address()).await.expect("connected");
        assert!(says(&mut stream, b"ping").await);
        proxy.block(Way::ToClient);
        let waited = tokio::time::timeout(Duration::from_millis(50), says(&mut stream, b"sent")).await;
        assert!(waited.is_err(), "the answer may not pass");
        // The word itself went through: its echo is what arrives, and it was not sent again.
        proxy.block(Way::ToService);
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.expect("it arrives");
        assert_eq!(&answer, b"sent");
    }

    #[tokio::test]
    async fn what_is_reset_is_an_error_and_what_is_cut_is_an_end() {
        let proxy = TcpProxy::start(echo().await).await.expect("a proxy");
        for (reset, ends) in [(false, true), (true, false)] {
            let mut stream = TcpStream::connect(proxy.address()).await.expect("connected");
            assert!(says(&mut stream, b"ping").await);
            if reset {
                proxy.reset();
            } else {
                proxy.cut();
            }
            assert_eq!(stream.read(&mut [0; 1]).await.is_ok(), ends, "reset: {reset}");
            proxy.restore();
        }
    }

    #[tokio::test]
    async fn a_narrow_line_takes_its_time_for_each_byte() {
        let proxy = TcpProxy::start(echo().await).await.expect("a proxy");
        let mut stream = TcpStream::connect(proxy.address()).await.expect("connected");
        assert!(says(&mut stream, b"ping").await);
        proxy.narrow(Way::ToService, 100);
        let began = std::time::Instant::now();
        assert!(says(&mut stream, b"pong").await);
        assert!(began.elapsed() >= Duration::from_millis(40), "{:?}", began.elapsed());
    }
}
