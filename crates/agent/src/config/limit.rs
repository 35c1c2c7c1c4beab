//! `[peer.limit]`: how many bytes a second may leave for a peer, and when.

use std::ops::Range;

use sealift_terms::limits::{LIMIT_RATE_MAX, LIMIT_RATE_MIN, LIMIT_TIMES_MAX};
use sealift_tunnel::{Day, TimeOfDay, Times, Timetable};
use toml::Spanned;

use super::{
    checker::Checker,
    raw::{self, Number, Text},
};

/// The timetable of one peer; unlimited without the section.
pub(super) fn limit(c: &mut Checker<'_>, raw: Option<&Spanned<raw::Limit>>) -> Option<Timetable> {
    let Some(section) = raw else {
        return Some(Timetable::default());
    };
    let (raw, span) = (section.get_ref(), section.span());
    if raw.rate_bytes_per_sec.is_none() && raw.times.is_empty() {
        return c.refuse(
            "peer.limit",
            &span,
            "a limit without a rate",
            "rate_bytes_per_sec, or [[peer.limit.times]], or both",
            "give a rate, or remove the section: then there is no limit",
        );
    }
    if let Some(first_over) = raw.times.get(LIMIT_TIMES_MAX) {
        let (found, allowed) = (raw.times.len().to_string(), LIMIT_TIMES_MAX.to_string());
        let remedy = "put days with the same hours and rate into one entry";
        return c.refuse(
            "peer.limit.times",
            &first_over.span(),
            found,
            allowed,
            remedy,
        );
    }
    let always = rate(
        c,
        "peer.limit.rate_bytes_per_sec",
        raw.rate_bytes_per_sec.as_ref(),
    );
    let all: Vec<_> = raw
        .times
        .iter()
        .map(|times| self::times(c, times))
        .collect();
    let all: Vec<Times> = all.into_iter().collect::<Option<_>>()?;
    refuse_overlaps(c, raw, &all)?;
    Timetable::new(always?, &all)
}

/// The first entry that shares a moment with one before it.
fn refuse_overlaps(c: &mut Checker<'_>, raw: &raw::Limit, all: &[Times]) -> Option<()> {
    for (index, entry) in raw.times.iter().enumerate() {
        let upto = all.get(..=index).unwrap_or_default();
        if Timetable::new(None, upto).is_none() {
            return c.refuse(
                "peer.limit.times",
                &entry.span(),
                "times that overlap with others",
                "one rate at every moment; times may touch",
                "make it end where another begins",
            );
        }
    }
    Some(())
}

fn times(c: &mut Checker<'_>, entry: &Spanned<raw::Times>) -> Option<Times> {
    let raw = entry.get_ref();
    let days = days(c, raw.days.as_ref(), &entry.span());
    let from = time(c, "peer.limit.times.from_utc", &raw.from_utc);
    let to = time(c, "peer.limit.times.to_utc", &raw.to_utc);
    let number = raw.rate_bytes_per_sec.as_ref();
    let rate = rate(c, "peer.limit.times.rate_bytes_per_sec", number);
    let (from, to) = (from?, to?);
    if from == to {
        return c.refuse(
            "peer.limit.times.to_utc",
            &raw.to_utc.span(),
            format!("{:?}, where it begins", raw.to_utc.get_ref()),
            "another time than from_utc; an earlier one is on the next day",
            "write 00:00 to 24:00 for the whole day",
        );
    }
    Some(Times {
        days: days?,
        from,
        to,
        rate: rate?,
    })
}

fn days(
    c: &mut Checker<'_>,
    raw: Option<&Spanned<Vec<Text>>>,
    entry: &Range<usize>,
) -> Option<Vec<Day>> {
    let Some(list) = raw else {
        return Some(Day::ALL.to_vec());
    };
    let (allowed, remedy) = (
        "mon, tue, wed, thu, fri, sat, sun",
        "name days, or leave `days` out for all of them",
    );
    let mut days = Vec::new();
    for word in list.get_ref() {
        let day = Day::ALL
            .into_iter()
            .find(|day| day.as_str() == word.get_ref());
        match day {
            Some(day) if !days.contains(&day) => days.push(day),
            _ => {
                let found = format!("{:?}", word.get_ref());
                return c.refuse(
                    "peer.limit.times.days",
                    &word.span(),
                    found,
                    allowed,
                    remedy,
                );
            }
        }
    }
    if days.is_empty() {
        return c.refuse("peer.limit.times.days", entry, "no day", allowed, remedy);
    }
    Some(days)
}

fn time(c: &mut Checker<'_>, setting: &str, text: &Text) -> Option<TimeOfDay> {
    TimeOfDay::parse(text.get_ref()).or_else(|| {
        c.refuse(
            setting,
            &text.span(),
            format!("{:?}", text.get_ref()),
            "HH:MM in UTC, 00:00 to 24:00",
            "write hours and minutes with two digits each",
        )
    })
}

/// No number is no limit.
fn rate(c: &mut Checker<'_>, setting: &str, number: Option<&Number>) -> Option<Option<u64>> {
    let Some(number) = number else {
        return Some(None);
    };
    let rate = *number.get_ref();
    if (LIMIT_RATE_MIN..=LIMIT_RATE_MAX).contains(&rate) {
        return Some(Some(rate));
    }
    c.refuse(
        setting,
        &number.span(),
        rate.to_string(),
        format!("{LIMIT_RATE_MIN} to {LIMIT_RATE_MAX}, in bytes a second"),
        "leave it out for no limit; remove the peer from its rules to send nothing",
    )
}
