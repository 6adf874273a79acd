//! A handle on a customer's socket, for the one case in which asking politely is not heard.

use std::any::Any;
use std::net::Shutdown;
use std::sync::Arc;

use actix_http::Extensions;
use socket2::{SockRef, Socket};
use tokio::net::TcpStream;

/// A second handle on a connection, kept in its extensions and by its session. While a customer takes
/// no data the actor on its socket is not polled; shutting the socket down from outside ends it.
#[derive(Clone)]
pub struct ClientSocket(Arc<Socket>);

impl ClientSocket {
    /// For `HttpServer::on_connect`: saves the handle where handlers find it.
    pub fn save(io: &dyn Any, extensions: &mut Extensions) {
        if let Some(tcp) = io.downcast_ref::<TcpStream>()
            && let Ok(socket) = SockRef::from(tcp).try_clone()
        {
            extensions.insert(Self(Arc::new(socket)));
        }
    }

    /// Ends the connection in both directions at once.
    pub fn cut(&self) {
        if let Err(error) = self.0.shutdown(Shutdown::Both) {
            log::debug!("a stalled socket was gone already: {error}");
        }
    }
}
