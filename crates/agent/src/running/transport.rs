//! By which way of the network a door is reached.

use sealift_tunnel::{OnInterface, TcpTransport, Transport};

use crate::config::Listen;

/// TCP, by the interface that is named where one is.
pub(super) fn of(listen: &Listen) -> Box<dyn Transport> {
    match listen.interface.clone() {
        Some(name) => Box::new(OnInterface { name }),
        None => Box::new(TcpTransport),
    }
}
