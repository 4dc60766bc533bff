//! A TCP connection that can be cut, delayed, frozen and restored.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How the line behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Bytes pass, each piece after this delay.
    Open(Duration),
    /// Connections stay open and nothing passes, in either direction: a hung peer, or a firewall that drops.
    Frozen,
    /// Connections are closed, new ones too.
    Cut,
}

/// Stands between a client and a service and misbehaves on request. Ends when dropped, with all its connections.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    line: watch::Sender<Line>,
    task: JoinHandle<()>,
}

impl TcpProxy {
    /// Listens on a free port of 127.0.0.1 and passes everything on to `target`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (line, state) = watch::channel(Line::Open(Duration::ZERO));
        let task = tokio::spawn(accept(listener, target, state));
        Ok(Self { address, line, task })
    }

    /// Listens before a service on 127.0.0.1.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn before(port: u16) -> io::Result<Self> {
        Self::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
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
        self.line.send_replace(Line::Cut);
    }

    /// Keeps connections open and passes nothing on. What is sent meanwhile arrives after [`TcpProxy::restore`].
    pub fn freeze(&self) {
        self.line.send_replace(Line::Frozen);
    }

    /// Passes each piece (at most 16 KiB) on only after `delay`.
    pub fn delay(&self, delay: Duration) {
        self.line.send_replace(Line::Open(delay));
    }

    /// Passes everything on at once again.
    pub fn restore(&self) {
        self.delay(Duration::ZERO);
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        // Connections see their side of the watch close.
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, line: watch::Receiver<Line>) {
    while let Ok((client, _)) = listener.accept().await {
        let line = line.clone();
        tokio::spawn(async move {
            if *line.borrow() == Line::Cut {
                return;
            }
            let Ok(service) = TcpStream::connect(target).await else { return };
            let _ = client.set_nodelay(true);
            let _ = service.set_nodelay(true);
            let (from_client, to_client) = client.into_split();
            let (from_service, to_service) = service.into_split();
            // Either side's end ends both, so that a client sees at once what happened.
            tokio::select! {
                () = pass(from_client, to_service, line.clone()) => {}
                () = pass(from_service, to_client, line.clone()) => {}
                () = until_cut(line) => {}
            }
        });
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut line: watch::Receiver<Line>) {
    let mut piece = vec![0; 16 * 1024];
    loop {
        let Ok(read) = from.read(&mut piece).await else { return };
        if read == 0 {
            return;
        }
        let Ok(state) = line.wait_for(|line| *line != Line::Frozen).await.map(|line| *line) else { return };
        if let Line::Open(delay) = state
            && !delay.is_zero()
        {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}

/// Until the line is cut or the proxy is gone.
async fn until_cut(mut line: watch::Receiver<Line>) {
    let _ = line.wait_for(|line| *line == Line::Cut).await;
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
}
