//! Where the broker is, and how a connection to it is made and closed.

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use lapin::tcp::{AMQPUriTcpExt, TLSConfig};
use lapin::types::{MAX_SHORT_STRING_LENGTH, ShortString};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};
use thiserror::Error;

use super::RabbitMqSettings;
use crate::error::Error;

/// An address that is none. The text never repeats it, because it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the address of RabbitMQ is not of the form amqp://user:password@host:port/vhost (amqps:// for TLS); {0}")]
pub struct InvalidUrl(&'static str);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Consume,
    Publish,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Consume => "consuming",
            Self::Publish => "publishing",
        })
    }
}

/// A parsed address. It has no `Debug`: it holds the password.
pub(super) struct Address {
    uri: AMQPUri,
    place: String,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, InvalidUrl> {
        if !(url.starts_with("amqp://") || url.starts_with("amqps://")) {
            return Err(InvalidUrl("it has to begin with amqp:// or amqps://"));
        }
        let mut uri: AMQPUri = url.parse().map_err(|_| {
            InvalidUrl("a character in it may need percent-encoding, for example %2F for the / of a vhost")
        })?;
        // lapin takes an address in brackets for no host at all, and would go to localhost.
        if let Some(address) = bracketed_host(url) {
            uri.authority.host = address;
        }
        let place = place(&uri.authority.host, uri.authority.port, &uri.vhost);
        Ok(Self { uri, place })
    }

    /// Host, port and virtual host.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn vhost(&self) -> &str {
        &self.uri.vhost
    }

    pub(super) fn user(&self) -> &str {
        &self.uri.authority.userinfo.username
    }

    pub(super) async fn open(&self, settings: &RabbitMqSettings, role: Role) -> Result<Link, Error> {
        let mut uri = self.uri.clone();
        uri.query.heartbeat = Some(u16::try_from(settings.heartbeat.as_secs()).unwrap_or(u16::MAX).max(1));
        uri.query.connection_timeout = u64::try_from(settings.connect_timeout.as_millis()).ok();
        let properties =
            ConnectionProperties::default().with_connection_name(format!("{} ({role})", settings.name).into());
        let socket = Arc::new(Mutex::new(Socket::None));
        match tokio::time::timeout(settings.connect_timeout, open(uri, properties, Arc::clone(&socket))).await {
            Ok(Ok(connection)) => Ok(Link { connection: Arc::new(connection), socket }),
            Ok(Err(error)) => Err(self.unreachable(&error.to_string())),
            Err(_) => {
                Socket::give_up(&socket);
                Err(self.no_answer(settings.connect_timeout))
            }
        }
    }

    pub(super) fn no_answer(&self, deadline: Duration) -> Error {
        self.unreachable(&format!("no answer within {} s", deadline.as_secs_f32()))
    }

    pub(super) fn unreachable(&self, cause: &str) -> Error {
        let password = &self.uri.authority.userinfo.password;
        let cause = if password.is_empty() { cause.to_owned() } else { cause.replace(password, "***") };
        Error::Unreachable { place: self.place.clone(), cause }
    }
}

/// A second handle of a connection's socket. lapin serves each connection on a thread of its own, which waits for the peer as
/// long as the socket is open, while one is made and while one is closed; against a peer that never answers, each try would
/// leave a thread behind.
enum Socket {
    None,
    Open(TcpStream),
    GivenUp,
}

impl Socket {
    fn give_up(socket: &Mutex<Self>) {
        let before = std::mem::replace(&mut *socket.lock().unwrap_or_else(PoisonError::into_inner), Self::GivenUp);
        if let Self::Open(stream) = before {
            // It may be closed already; that is what is wanted.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn keep(socket: &Mutex<Self>, stream: TcpStream) -> io::Result<()> {
        let mut socket = socket.lock().unwrap_or_else(PoisonError::into_inner);
        match *socket {
            Self::None | Self::Open(_) => {
                *socket = Self::Open(stream);
                Ok(())
            }
            Self::GivenUp => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

async fn open(uri: AMQPUri, properties: ConnectionProperties, socket: Arc<Mutex<Socket>>) -> lapin::Result<Connection> {
    let runtime = lapin::runtime::default_runtime()?;
    Connection::connector(
        uri,
        runtime,
        async move |uri, runtime| {
            let plain = AMQPUri { scheme: AMQPScheme::AMQP, ..uri.clone() };
            let patience = Duration::from_millis(uri.query.connection_timeout.unwrap_or(u64::MAX));
            let connecting = plain.connect_with_config_async(TLSConfig::default(), &runtime);
            let stream = tokio::time::timeout(patience, connecting).await.map_err(io::Error::from)??;
            if let AsyncTcpStream::Plain(stream) = &stream {
                Socket::keep(&socket, stream.get_ref().as_fd().try_clone_to_owned()?.into())?;
            }
            Ok(match uri.scheme {
                AMQPScheme::AMQP => stream,
                AMQPScheme::AMQPS => stream.into_tls(&uri.authority.host, TLSConfig::default()).await?,
            })
        },
        properties,
    )
    .await
}

fn place(host: &str, port: u16, vhost: &str) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    if vhost == "/" { format!("{host}:{port}") } else { format!("{host}:{port}, virtual host '{vhost}'") }
}

fn bracketed_host(url: &str) -> Option<String> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Some(host.strip_prefix('[')?.split_once(']')?.0.to_owned())
}

/// A connection and its socket.
pub(super) struct Link {
    pub(super) connection: Arc<Connection>,
    socket: Arc<Mutex<Socket>>,
}

impl Link {
    /// Closes it in good order, if it still stands, and after `deadline` without.
    pub(super) async fn close(&self, deadline: Duration) {
        let closing = self.connection.close(lapin::protocol::constants::REPLY_SUCCESS, short("OK"));
        tokio::select! {
            closed = tokio::time::timeout(deadline, closing) => match closed {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "closing a connection that was gone already"),
                Err(_) => tracing::debug!("closing a connection whose peer does not answer"),
            },
            () = broken(&self.connection) => {}
        }
        Socket::give_up(&self.socket);
    }
}

/// How often a connection is looked at while something on it is closed.
const LOOK: Duration = Duration::from_millis(50);

/// Whether a connection stands no longer, and is not being closed in good order either.
pub(super) fn is_broken(connection: &Connection) -> bool {
    !connection.status().connected() && !connection.status().closing()
}

/// Returns when a connection is broken. lapin may leave a close that is asked for at that moment without any answer.
pub(super) async fn broken(connection: &Connection) {
    let mut look = tokio::time::interval(LOOK);
    while !is_broken(connection) {
        look.tick().await;
    }
}

/// A name as AMQP wants it: at most 255 bytes; what is beyond is cut off.
pub(super) fn short(text: &str) -> ShortString {
    ShortString::from(&text[..text.floor_char_boundary(MAX_SHORT_STRING_LENGTH)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> String {
        Address::parse(url).expect("an address").place
    }

    #[test]
    fn a_place_names_host_port_and_virtual_host_but_no_credentials() {
        assert_eq!(at("amqp://user:s3cret@broker.example"), "broker.example:5672");
        assert_eq!(at("amqps://user:s3cret@broker.example:5699/%2F"), "broker.example:5699");
        assert_eq!(at("amqp://user:s3cret@127.0.0.1/orders"), "127.0.0.1:5672, virtual host 'orders'");
        assert_eq!(at("amqps://user:s3cret@[2001:db8::1]/%2f"), "[2001:db8::1]:5671");
    }

    #[test]
    fn an_address_that_is_none_is_not_repeated() {
        for url in ["", "redis://user:s3cret@host", "amqp://user:s3cret@host:port", "amqp://user:s3cret@[::1", "s3cret"]
        {
            let Err(error) = Address::parse(url) else { panic!("{url} was taken for an address") };
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_cause_that_repeats_the_password_is_cleaned() {
        let address = Address::parse("amqp://user:s3cret@host").expect("an address");
        let Error::Unreachable { place, cause } = address.unreachable("refused user:s3cret") else { panic!() };
        assert_eq!((place.as_str(), cause.as_str()), ("host:5672", "refused user:***"));
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(short(&"é".repeat(200)).as_str(), "é".repeat(127));
    }
}
