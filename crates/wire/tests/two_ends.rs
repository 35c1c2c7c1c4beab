//! A session between two endpoints in memory, under every loss there is.

#![allow(clippy::unwrap_used, clippy::panic)]

mod two;

use std::time::Duration;

use proptest::prelude::*;
use sealift_terms::{ChangeKind, PartSize, limits};
use sealift_wire::*;
use two::{Archive, PART, Two, offer};

/// Small and large objects over every boundary, and a delete marker.
fn work(two: &mut Two) {
    let part = u64::from(PART);
    let sizes = [0, 1, part - 1, part, part + 1, 2 * part, 3 * part + 17];
    for (i, size) in sizes.into_iter().enumerate() {
        let small = size < part;
        let how = if small {
            HowToOffer::Inline
        } else {
            HowToOffer::AskFirst
        };
        two.offer(
            offer(&format!("object-{i}"), ChangeKind::Put, size, small),
            how,
        );
    }
    two.offer(
        offer("asked", ChangeKind::Put, 9, true),
        HowToOffer::AskFirst,
    );
    two.offer(
        offer("gone", ChangeKind::DeleteMarker, 0, false),
        HowToOffer::AskFirst,
    );
}

fn three_links(limits: Limits) -> Two {
    let mut two = Two::new(limits, Archive::default());
    two.open(Carries::Control);
    two.open(Carries::Data);
    two.open(Carries::Data);
    two
}

#[test]
fn every_object_is_completed_and_each_part_is_sent_once() {
    let mut two = three_links(Limits::default());
    work(&mut two);
    two.run().unwrap();
    two.assert_all_completed();
    // 64 KiB: 2 parts, one more byte: 2, 128 KiB: 3, and 4; `asked` is one part.
    assert_eq!(two.parts_sent, 2 + 2 + 3 + 4 + 1);
}

#[test]
fn loss_of_any_link_at_every_frame_ends_with_all_completed() {
    let mut whole = three_links(Limits::default());
    work(&mut whole);
    whole.run().unwrap();
    for frame in 0..whole.frames {
        for lost in [0, 1, 2] {
            for notices in [true, false] {
                let mut two = three_links(Limits::default());
                work(&mut two);
                while two.round().unwrap() {
                    if two.frames >= frame && two.links.contains_key(&LinkId(lost)) {
                        two.lose(LinkId(lost), notices);
                        two.open(Carries::Data);
                    }
                }
                two.assert_all_completed();
            }
        }
    }
}

#[test]
fn a_part_that_a_link_was_lost_in_goes_on_behind_the_bytes_that_came() {
    let part = PART as usize;
    let sent_with = |keeps: bool, notices: bool| {
        let mut two = Two::new(Limits::default(), Archive::default());
        two.keeps = keeps;
        two.open(Carries::Control);
        let mut link = two.open(Carries::Data);
        let size = 10 * u64::from(PART) + 5;
        two.offer(
            offer("x", ChangeKind::Put, size, false),
            HowToOffer::AskFirst,
        );
        // Each link carries one and a half parts of those that are written to it.
        for _ in 0..6 {
            let sent = two.bytes_sent;
            while two.bytes_sent == sent && two.round().unwrap() {}
            for _ in 0..3 {
                two.deliver(link, true).unwrap();
            }
            two.lose(link, notices);
            link = two.open(Carries::Data);
        }
        two.run().unwrap();
        two.assert_all_completed();
        (two.bytes_sent, two.sender.continued())
    };
    for notices in [true, false] {
        let (kept, continued) = sent_with(true, notices);
        let (whole, none) = sent_with(false, notices);
        assert!(continued > 0 && none == 0);
        assert!(kept < whole, "{kept} bytes sent, {whole} without keeping");
        assert!(kept >= 10 * part + 5);
    }
}

#[test]
fn what_is_kept_over_sessions_is_offered_in_the_cut_that_it_has() {
    let mut whole = three_links(Limits::default());
    work(&mut whole);
    whole.run().unwrap();
    let mut continued = 0;
    for frame in 0..whole.frames {
        let mut first = three_links(Limits::default());
        work(&mut first);
        while first.frames < frame && first.round().unwrap() {}
        let unfinished: Vec<_> = first.sender.unfinished().collect();
        let offers = first.offers.clone();
        let mut second = Two::new(Limits::default(), first.into_archive());
        second.open(Carries::Control);
        second.open(Carries::Data);
        for id in unfinished {
            let mut again = offers[&id].clone();
            // The line became faster meanwhile.
            again.part_size = PartSize::new(2 * PART).unwrap();
            second.offer(again, HowToOffer::AskFirst);
        }
        second.run().unwrap();
        second.assert_all_completed();
        continued += second.sender.continued();
    }
    assert!(continued > 0);
}

#[test]
fn loss_of_the_whole_session_at_every_frame_is_resumed_by_the_next() {
    let mut whole = three_links(Limits::default());
    work(&mut whole);
    whole.run().unwrap();
    for frame in 0..whole.frames {
        let mut first = three_links(Limits::default());
        work(&mut first);
        while first.frames < frame && first.round().unwrap() {}
        let mut second = Two::new(Limits::default(), first.archive);
        second.open(Carries::Control);
        second.open(Carries::Data);
        // What was doubtful is asked about first; stored parts are not sent again,
        // or `Two` would say so.
        for id in first.sender.unfinished() {
            second.offer(first.offers[&id].clone(), HowToOffer::AskFirst);
        }
        second.run().unwrap();
        second.assert_all_completed();
    }
}

#[test]
fn small_objects_wait_for_credit_and_then_go_on() {
    let limits = Limits {
        inline_bytes_max: 1000,
        offers_max: 2,
        parts_max: 1,
        open_offers_max: 3,
    };
    let mut two = three_links(limits);
    for i in 0..20 {
        let how = HowToOffer::Inline;
        two.offer(
            offer(&format!("small-{i}"), ChangeKind::Put, 300, true),
            how,
        );
        two.offer(
            offer(&format!("large-{i}"), ChangeKind::Put, 70_000, false),
            how,
        );
    }
    two.offer(
        offer("never inline", ChangeKind::Put, 1001, true),
        HowToOffer::Inline,
    );
    two.run().unwrap();
    two.assert_all_completed();
    assert_eq!(two.parts_sent, 41);
}

#[test]
fn an_object_without_credit_holds_up_no_other() {
    let mut two = three_links(Limits::default());
    two.credit = 0;
    let slow = two.offer(
        offer("slow", ChangeKind::Put, 70_000, false),
        HowToOffer::AskFirst,
    );
    two.run().unwrap();
    two.credit = u64::from(PART);
    two.offer(
        offer("quick", ChangeKind::Put, 700_000, false),
        HowToOffer::AskFirst,
    );
    two.offer(offer("small", ChangeKind::Put, 7, true), HowToOffer::Inline);
    two.run().unwrap();
    assert_eq!(two.sender.unfinished().collect::<Vec<_>>(), [slow]);
    two.receiver.credit(slow, u64::from(PART));
    two.run().unwrap();
    two.assert_all_completed();
}

#[test]
fn a_drained_link_finishes_and_takes_nothing_new() {
    let mut two = three_links(Limits::default());
    work(&mut two);
    for _ in 0..3 {
        two.round().unwrap();
    }
    two.receiver.drain(LinkId(1));
    two.run().unwrap();
    two.assert_all_completed();
    assert!(!two.sender.is_busy(LinkId(1)) && !two.receiver.is_busy(LinkId(1)));
    two.offer(offer("late", ChangeKind::Put, 7, true), HowToOffer::Inline);
    assert!(!two.pump(LinkId(1)));
    two.run().unwrap();
    two.assert_all_completed();
}

#[test]
fn a_cancelled_offer_ends_on_both_sides_and_its_bytes_go_nowhere() {
    let mut two = three_links(Limits::default());
    let id = two.offer(
        offer("x", ChangeKind::Put, 500_000, false),
        HowToOffer::AskFirst,
    );
    while two.parts_sent < 2 {
        two.round().unwrap();
    }
    let why = Refusal::new(sealift_terms::Reason::SrcObjectChanged, "changed");
    two.sender.cancel(id, &why);
    two.offers.remove(&id);
    two.offer(
        offer("y", ChangeKind::Put, 500_000, false),
        HowToOffer::AskFirst,
    );
    two.run().unwrap();
    two.assert_all_completed();
}

#[test]
fn a_commit_overtaken_by_a_newer_offer_does_not_draw_the_receipt_to_its_link() {
    let mut two = Two::new(Limits::default(), Archive::default());
    let [first, second] = [two.open(Carries::Control), two.open(Carries::Control)];
    let lost = two.open(Carries::Data);
    two.offer(
        offer("x", ChangeKind::Put, 70_000, false),
        HowToOffer::AskFirst,
    );
    // Accepted and sent; COMMIT is on its way over `first` when the parts are lost.
    two.pump(first);
    two.deliver(first, true).unwrap();
    two.flush();
    two.deliver(first, false).unwrap();
    two.pump(lost);
    two.pump(first);
    two.lose(lost, true);
    // The next OFFER, over `second`, comes before it.
    two.pump(second);
    two.deliver(second, true).unwrap();
    two.flush();
    two.deliver(second, false).unwrap();
    assert!(two.deliver(first, true).unwrap(), "the old COMMIT");
    two.lose(first, false);
    // All parts are stored before the COMMIT of this round comes.
    let data = two.open(Carries::Data);
    two.pump(data);
    while two.deliver(data, true).unwrap() {}
    while two.store_one() {}
    two.run().unwrap();
    two.assert_all_completed();
}

#[test]
fn silent_links_are_pinged_and_then_reported() {
    let mut two = three_links(Limits::default());
    let silent = |two: &mut Two| {
        let mut silent = Vec::new();
        while let Some(event) = two.receiver.next_event() {
            if let ReceiveEvent::Link(LinkEvent::Silent(link)) = event {
                silent.push(link.0);
            }
        }
        silent
    };
    for now in [Duration::ZERO, limits::PING_AFTER] {
        two.sender.tick(now);
        two.receiver.tick(now);
    }
    two.flush();
    assert_eq!(
        two.links[&LinkId(2)].to_sender.front().unwrap().0.frame,
        FrameType::Ping
    );
    two.lose(LinkId(2), false);
    two.run().unwrap();
    two.receiver.tick(limits::IDLE_TIME_MAX);
    assert_eq!(silent(&mut two), [2]);
}

#[test]
fn a_session_that_begins_long_after_the_clock_is_not_silent_from_its_start() {
    let mut two = three_links(Limits::default());
    let began = 10 * limits::IDLE_TIME_MAX;
    for (now, silent) in [
        (began, 0),
        (began + limits::IDLE_TIME_MAX / 2, 0),
        (began + limits::IDLE_TIME_MAX, 3),
    ] {
        two.sender.tick(now);
        let events = std::iter::from_fn(|| two.sender.next_event());
        let is_silent = |event: &SendEvent| matches!(event, SendEvent::Link(LinkEvent::Silent(_)));
        assert_eq!(events.filter(is_silent).count(), silent, "{now:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Frames arrive in any interleaving, storing takes any time, links break at
    /// any moment, several at once, noticed by both ends or by one.
    #[test]
    fn any_schedule_with_any_losses_completes(
        steps in schedule(),
        credit in 1u64..4,
    ) {
        any_schedule(steps, credit, false);
    }

    /// The same with a receiver that keeps what came of parts that were cut off.
    #[test]
    fn any_schedule_with_parts_that_go_on_completes(
        steps in schedule(),
        credit in 1u64..4,
    ) {
        any_schedule(steps, credit, true);
    }
}

/// An answer says that a part may go on while it goes on already, and it is stored since.
#[test]
fn a_part_that_was_stored_since_the_answer_left_is_not_sent_again() {
    let steps = "0 3 f,11 3 f,0 3 f,4 3 t,4 0 t,4 3 t,0 0 f,4 3 t,9 0 f,4 3 t,4 3 f,0 3 f,4 3 t,9 0 f,\
                 0 0 f,11 0 f,0 2 f,11 0 t,4 4 t,9 0 f,4 1 f,0 2 f,11 4 f,0 3 f,0 0 f";
    let steps = steps.split(',').map(|step| {
        let mut words = step.split_whitespace();
        let mut word = || words.next().unwrap();
        (
            word().parse().unwrap(),
            word().parse().unwrap(),
            word() == "t",
        )
    });
    any_schedule(steps.collect(), 1, true);
}

fn schedule() -> impl Strategy<Value = Vec<(u8, u32, bool)>> {
    proptest::collection::vec((0u8..12, 0u32..8, any::<bool>()), 0..400)
}

fn any_schedule(steps: Vec<(u8, u32, bool)>, credit: u64, keeps: bool) {
    let mut two = three_links(Limits {
        inline_bytes_max: 80_000,
        offers_max: 4,
        parts_max: 2,
        open_offers_max: 2,
    });
    two.credit = credit * u64::from(PART);
    two.keeps = keeps;
    work(&mut two);
    for (what, pick, flag) in steps {
        let links: Vec<_> = two.links.keys().copied().collect();
        let link = links[pick as usize % links.len()];
        match what {
            0..=3 => drop(two.pump(link)),
            4..=8 => drop(two.deliver(link, flag).unwrap()),
            9 => two.flush(),
            10 => drop(two.store_one()),
            _ => {
                two.lose(link, flag);
                two.open(if flag {
                    Carries::Data
                } else {
                    Carries::Control
                });
            }
        }
    }
    two.open(Carries::Data);
    two.run().unwrap();
    two.assert_all_completed();
}
