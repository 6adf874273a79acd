//! Connects to a provider without Nagle's delay.

use std::rc::Rc;

use actix_service::{Service, fn_service};
use actix_tls::connect::{ConnectError, ConnectInfo, Connection, Connector, Resolver};
use awc::http::Uri;
use tokio::net::TcpStream;

/// A connector for awc.
pub fn connector()
-> impl Service<ConnectInfo<Uri>, Response = Connection<Uri, TcpStream>, Error = ConnectError> + Clone + 'static {
    let dial = Rc::new(Connector::new(Resolver::default()).service());
    let tcp = move |to: ConnectInfo<Uri>| {
        let dialing = dial.call(to);
        async move {
            let connection = dialing.await?;
            if let Err(error) = connection.io_ref().set_nodelay(true) {
                log::debug!("TCP_NODELAY was not set: {error}");
            }
            Ok::<_, ConnectError>(connection)
        }
    };
    fn_service(tcp)
}
