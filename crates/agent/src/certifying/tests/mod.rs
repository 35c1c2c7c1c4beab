//! The sources of certificates, each against a server or files in this process.

mod acme;
mod acme_server;
mod conformance;
mod days;
mod over;
mod stage;
mod workload;

/// An address that nobody listens on now, and that the kernel gives to nobody else as long as
/// this process lives.
fn free_address() -> std::net::SocketAddr {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    std::mem::forget(socket);
    address
}
