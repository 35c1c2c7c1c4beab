//! A service that says back what it hears, at once.

use std::{io, net::TcpListener, thread};

/// Where it listens, for as long as the process lives.
pub(crate) fn parrot() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut heard = stream.unwrap();
            let mut said = heard.try_clone().unwrap();
            thread::spawn(move || io::copy(&mut heard, &mut said));
        }
    });
    address
}
