//! One connection to a service, which nothing drives but who asks over it.
//!
//! With a task of its own it would be woken for each request, and wake who asked for the head of
//! the answer and for each piece of its body: on a busy machine that is most of what a small
//! request costs.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{self, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::unconstrained,
};

use crate::Payload;

/// What reads and writes; it ends with the connection.
type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) struct Line {
    sender: SendRequest<Payload>,
    /// None once it is over.
    driver: Option<Driver>,
}

impl Line {
    pub(crate) async fn begin<S>(stream: S) -> hyper::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // What goes wrong with it, its sender is told.
        let driver: Driver = Box::pin(async { drop(connection.await) });
        Ok(Self {
            sender,
            driver: Some(driver),
        })
    }

    /// Whether it still is one: what the service did with it while nobody asked comes to light.
    pub(crate) async fn is_open(&mut self) -> bool {
        poll_fn(|context| {
            drive(&mut self.driver, context);
            Poll::Ready(self.driver.is_some())
        })
        .await
    }

    /// Waits until a request can be sent.
    pub(crate) async fn ready(&mut self) -> hyper::Result<()> {
        driven(&mut self.driver, self.sender.ready()).await
    }

    /// Sends a request, and waits for the head of its answer.
    pub(crate) async fn try_send(
        &mut self,
        request: Request<Payload>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Payload>>> {
        let sent = self.sender.try_send_request(request);
        driven(&mut self.driver, sent).await
    }

    /// Waits for what comes over this connection.
    pub(crate) async fn drive<T>(&mut self, what: impl Future<Output = T>) -> T {
        driven(&mut self.driver, what).await
    }
}

fn drive(driver: &mut Option<Driver>, context: &mut Context<'_>) {
    let over = |driver: &mut Driver| driver.as_mut().poll(context).is_ready();
    driver.take_if(over);
}

/// Waits for what nothing but the driver brings. So it wakes nobody, and is looked at whenever
/// the driver was: were it to wake this task, each answer would wake it once more for nothing.
/// For the same reason it does not make way for others (`unconstrained`): who does that wakes
/// itself for later. The driver does.
async fn driven<T>(driver: &mut Option<Driver>, what: impl Future<Output = T>) -> T {
    let mut what = pin!(unconstrained(what));
    poll_fn(|context| {
        let mut unwoken = Context::from_waker(Waker::noop());
        if let Poll::Ready(done) = what.as_mut().poll(&mut unwoken) {
            return Poll::Ready(done);
        }
        drive(driver, context);
        what.as_mut().poll(&mut unwoken)
    })
    .await
}
