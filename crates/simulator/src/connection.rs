//! Connections that a fault can cut before the answer is written.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Handshakes under way at once; further connections wait in the system's queue.
const HANDSHAKES: usize = 256;
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// A listener whose connections can be cut, with or without TLS.
pub(crate) struct CuttableListener {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    handshakes: FuturesUnordered<BoxFuture<'static, Option<(CuttableStream, SocketAddr)>>>,
}

impl CuttableListener {
    pub(crate) fn new(tcp: TcpListener, tls: Option<TlsAcceptor>) -> Self {
        Self { tcp, tls, handshakes: FuturesUnordered::new() }
    }
}

/// The switch of one connection: after [`Cut::now`] nothing more is written to it.
#[derive(Debug, Clone)]
pub(crate) struct Cut(Arc<AtomicBool>, IpAddr);

impl Cut {
    pub(crate) fn now(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn of(peer: SocketAddr) -> Self {
        Self(Arc::default(), peer.ip().to_canonical())
    }

    /// The caller's address.
    pub(crate) fn peer(&self) -> IpAddr {
        self.1
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Acquire) { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl Listener for CuttableListener {
    type Io = CuttableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                (stream, address) = Listener::accept(&mut self.tcp), if self.handshakes.len() < HANDSHAKES => {
                    // Small answers must not wait for more bytes; a failure only costs latency.
                    let _ = stream.set_nodelay(true);
                    let Some(tls) = &self.tls else { return (CuttableStream::new(Wire::Plain(stream), address), address) };
                    let handshake = tokio::time::timeout(HANDSHAKE_TIME, tls.accept(stream));
                    self.handshakes.push(Box::pin(async move {
                        // Whoever does not speak TLS, or does not trust us, is hung up on; the alert says why.
                        let stream = handshake.await.ok()?.ok()?;
                        Some((CuttableStream::new(Wire::Tls(Box::new(stream)), address), address))
                    }));
                }
                Some(ended) = self.handshakes.next(), if !self.handshakes.is_empty() => {
                    if let Some(ready) = ended {
                        return ready;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

impl Connected<IncomingStream<'_, CuttableListener>> for Cut {
    fn connect_info(stream: IncomingStream<'_, CuttableListener>) -> Self {
        stream.io().cut.clone()
    }
}

#[derive(Debug)]
enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection with its switch. On HTTP/2 all its streams end together, as when a real connection breaks.
#[derive(Debug)]
pub(crate) struct CuttableStream {
    wire: Wire,
    cut: Cut,
}

impl CuttableStream {
    fn new(wire: Wire, peer: SocketAddr) -> Self {
        Self { wire, cut: Cut::of(peer) }
    }
}

impl AsyncRead for CuttableStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.cut.check()?;
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.cut.check()?;
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Wire::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cut.check()?;
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A cut connection does not say goodbye: TLS would send its close notice here.
        if self.cut.check().is_err() {
            return Poll::Ready(Ok(()));
        }
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.cut.check()?;
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Wire::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(stream) => stream.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
