//! Futures side by side in one task, of which those alone are polled that were woken.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use parking_lot::Mutex;

pub(super) struct Together<F> {
    under_way: Vec<One<F>>,
    task: Arc<Mutex<Waker>>,
}

struct One<F> {
    future: Pin<Box<F>>,
    woken: Arc<Woken>,
    waker: Waker,
}

/// Whether one of them is to be polled.
struct Woken {
    is_woken: AtomicBool,
    /// Whom they are all polled by.
    task: Arc<Mutex<Waker>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.task.lock().wake_by_ref();
        }
    }
}

impl<F: Future> Together<F> {
    pub(super) fn new(futures: impl Iterator<Item = F>) -> Self {
        let task = Arc::new(Mutex::new(Waker::noop().clone()));
        let under_way = futures.map(|future| {
            let woken = Arc::new(Woken {
                is_woken: AtomicBool::new(true),
                task: task.clone(),
            });
            One {
                future: Box::pin(future),
                waker: Waker::from(woken.clone()),
                woken,
            }
        });
        Self {
            under_way: under_way.collect(),
            task,
        }
    }

    /// What those say that are done next, all that are at the same time; none when all are.
    pub(super) async fn next(&mut self) -> Vec<F::Output> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Vec<F::Output>> {
        // Before any is looked at: who is woken from now on wakes this task.
        self.task.lock().clone_from(context.waker());
        let mut done = Vec::new();
        self.under_way.retain_mut(|one| {
            if !one.woken.is_woken.swap(false, Ordering::AcqRel) {
                return true;
            }
            let mut context = Context::from_waker(&one.waker);
            match one.future.as_mut().poll(&mut context) {
                Poll::Ready(output) => {
                    done.push(output);
                    false
                }
                Poll::Pending => true,
            }
        });
        match done.is_empty() && !self.under_way.is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn one_that_is_not_woken_is_not_polled_and_all_end() {
        let polls: [AtomicUsize; 3] = Default::default();
        let (mut ends, mut waits) = (Vec::new(), Vec::new());
        for _ in &polls {
            let (end, wait) = oneshot::channel::<usize>();
            ends.push(Some(end));
            waits.push(wait);
        }
        let futures = waits.into_iter().zip(&polls).map(|(mut wait, polls)| {
            poll_fn(move |context| {
                polls.fetch_add(1, Ordering::Relaxed);
                Pin::new(&mut wait).poll(context)
            })
        });
        let mut together = Together::new(futures);
        let mut context = Context::from_waker(Waker::noop());
        assert!(together.poll_next(&mut context).is_pending());
        for (at, told) in [(1, "the second"), (2, "the third"), (0, "the first")] {
            ends[at].take().unwrap().send(at).unwrap();
            assert_eq!(together.next().await, [Ok(at)], "{told}");
        }
        assert!(together.next().await.is_empty());
        assert!(polls.iter().all(|polls| polls.load(Ordering::Relaxed) == 2));
    }
}
