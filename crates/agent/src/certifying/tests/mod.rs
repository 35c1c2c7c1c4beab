//! The sources of certificates, each against a server or files in this process.

mod acme;
mod acme_server;
mod conformance;
mod days;
mod stage;
mod workload;

/// An address that nobody listens on now.
fn free_address() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}
