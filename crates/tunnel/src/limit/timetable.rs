//! Which rate holds when: a rate for all times, and others for times of the week.

use std::time::Duration;

use sealift_terms::Timestamp;

const MINUTES_PER_DAY: u32 = 24 * 60;
const WEEK_MILLIS: u64 = 7 * 86_400_000;
/// 1970-01-01 was a Thursday; a week here begins with Monday.
const MONDAY_OFFSET_MILLIS: i64 = 3 * 86_400_000;

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "their names say what they are")]
pub enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Day {
    /// Monday to Sunday.
    pub const ALL: [Self; 7] = [
        Self::Monday,
        Self::Tuesday,
        Self::Wednesday,
        Self::Thursday,
        Self::Friday,
        Self::Saturday,
        Self::Sunday,
    ];

    /// Its name in a configuration: `mon` to `sun`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Monday => "mon",
            Self::Tuesday => "tue",
            Self::Wednesday => "wed",
            Self::Thursday => "thu",
            Self::Friday => "fri",
            Self::Saturday => "sat",
            Self::Sunday => "sun",
        }
    }
}

/// A time of day in UTC, to the minute; 24:00 is the end of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u32);

impl TimeOfDay {
    /// Reads `HH:MM`, 00:00 to 24:00.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (hours, minutes) = text.split_once(':')?;
        let number = |text: &str| {
            let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u32>().ok()).flatten()
        };
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        let all = hours * 60 + minutes;
        (minutes < 60 && all <= MINUTES_PER_DAY).then_some(Self(all))
    }
}

/// Times of the week, and the rate that holds then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    /// The days on which they begin.
    pub days: Vec<Day>,
    /// From then on.
    pub from: TimeOfDay,
    /// Until then: on the next day, if that is not after `from`.
    pub to: TimeOfDay,
    /// Bytes a second; none: as many as will go.
    pub rate: Option<u64>,
}

/// What holds at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// Bytes a second; none: as many as will go.
    pub rate: Option<u64>,
    /// When something else holds; never, if there are no other times.
    pub until: Option<Timestamp>,
}

/// Some stretch of the week, in milliseconds from Monday 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    from: u64,
    to: u64,
    rate: Option<u64>,
}

/// How many bytes a second may leave, at every moment of a week.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timetable {
    /// Outside of all stretches.
    rate: Option<u64>,
    /// By time, none over another.
    stretches: Vec<Stretch>,
}

impl Timetable {
    /// `rate` holds outside of all `times`. None when two of those overlap: it would
    /// be unclear which of them holds.
    #[must_use]
    pub fn new(rate: Option<u64>, times: &[Times]) -> Option<Self> {
        let mut stretches: Vec<Stretch> = times.iter().flat_map(stretches_of).collect();
        stretches.sort_by_key(|stretch| stretch.from);
        let overlaps = stretches
            .windows(2)
            .any(|pair| matches!(pair, [one, next] if one.to > next.from));
        (!overlaps).then_some(Self { rate, stretches })
    }

    /// Whether there is no limit at any time.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        let rates = self.stretches.iter().map(|stretch| stretch.rate);
        rates.chain([self.rate]).all(|rate| rate.is_none())
    }

    /// What holds at `now`.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> InForce {
        let shifted = now.as_millis().saturating_add(MONDAY_OFFSET_MILLIS);
        let at = shifted
            .rem_euclid(WEEK_MILLIS.cast_signed())
            .cast_unsigned();
        let in_millis = |millis: u64| Some(now.plus(Duration::from_millis(millis)));
        if let Some(stretch) = self.stretches.iter().find(|s| s.from <= at && at < s.to) {
            let (rate, until) = (stretch.rate, in_millis(stretch.to - at));
            return InForce { rate, until };
        }
        let later = self.stretches.iter().find(|stretch| stretch.from > at);
        let until = match (later, self.stretches.first()) {
            (Some(next), _) => in_millis(next.from - at),
            (None, Some(first)) => in_millis(WEEK_MILLIS - at + first.from),
            (None, None) => None,
        };
        let rate = self.rate;
        InForce { rate, until }
    }
}

/// One stretch a day, two for one that goes past the end of the week.
fn stretches_of(times: &Times) -> Vec<Stretch> {
    let rate = times.rate;
    let (from, to) = (millis(times.from.0), millis(times.to.0));
    let length = match to > from {
        true => to - from,
        false => to + millis(MINUTES_PER_DAY) - from,
    };
    let mut stretches = Vec::new();
    for (index, day) in (0..).zip(Day::ALL) {
        if !times.days.contains(&day) {
            continue;
        }
        let from = millis(index * MINUTES_PER_DAY) + from;
        let to = (from + length).min(WEEK_MILLIS);
        let past = (from + length).saturating_sub(WEEK_MILLIS);
        let (week, next) = ((from, to), (0, past));
        let pieces = [week, next].into_iter().filter(|(from, to)| to > from);
        stretches.extend(pieces.map(|(from, to)| Stretch { from, to, rate }));
    }
    stretches
}

fn millis(minutes: u32) -> u64 {
    u64::from(minutes) * 60_000
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Monday, 2026-11-23T00:00:00Z.
    const MONDAY: i64 = 1_795_392_000;

    fn time(text: &str) -> TimeOfDay {
        TimeOfDay::parse(text).unwrap()
    }

    /// `day` days, then hours, minutes and milliseconds behind that Monday.
    fn at(day: i64, hour: i64, minute: i64, millis: i64) -> Timestamp {
        let secs = MONDAY + day * 86_400 + hour * 3600 + minute * 60;
        Timestamp::from_millis(secs * 1000 + millis)
    }

    fn times(days: &[Day], from: &str, to: &str, rate: Option<u64>) -> Times {
        let (from, to) = (time(from), time(to));
        Times {
            days: days.to_vec(),
            from,
            to,
            rate,
        }
    }

    #[test]
    fn a_time_of_day_is_two_digits_twice_up_to_the_end_of_the_day() {
        assert_eq!(time("00:00"), TimeOfDay(0));
        assert_eq!(time("24:00"), TimeOfDay(1440));
        assert_eq!(time("08:30"), TimeOfDay(510));
        for nonsense in [
            "8:30", "24:01", "25:00", "12:60", "1200", "", "+1:00", "12:0x",
        ] {
            assert_eq!(TimeOfDay::parse(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_rate_holds_from_its_first_millisecond_to_its_last() {
        let day = times(&[Day::Tuesday], "08:00", "18:00", Some(5));
        let table = Timetable::new(Some(9), &[day]).unwrap();
        let rate = |now| table.at(now).rate;
        assert_eq!(rate(at(1, 7, 59, 59_999)), Some(9));
        assert_eq!(rate(at(1, 8, 0, 0)), Some(5));
        assert_eq!(rate(at(1, 17, 59, 59_999)), Some(5));
        assert_eq!(rate(at(1, 18, 0, 0)), Some(9));
        assert_eq!(rate(at(2, 8, 0, 0)), Some(9));
        assert_eq!(rate(at(8, 8, 0, 0)), Some(5), "a week later");
        assert_eq!(table.at(at(1, 9, 0, 0)).until, Some(at(1, 18, 0, 0)));
        assert_eq!(table.at(at(1, 7, 0, 0)).until, Some(at(1, 8, 0, 0)));
        // After the last one of this week comes the first of the next.
        assert_eq!(table.at(at(3, 0, 0, 0)).until, Some(at(8, 8, 0, 0)));
    }

    #[test]
    fn times_may_go_past_midnight_and_past_the_end_of_the_week() {
        let night = times(&Day::ALL, "22:00", "06:00", None);
        let table = Timetable::new(Some(9), &[night]).unwrap();
        for day in 0..7 {
            assert_eq!(table.at(at(day, 21, 59, 59_999)).rate, Some(9), "{day}");
            assert_eq!(table.at(at(day, 22, 0, 0)).rate, None, "{day}");
            assert_eq!(table.at(at(day + 1, 0, 0, 0)).rate, None, "{day}");
            assert_eq!(table.at(at(day + 1, 5, 59, 59_999)).rate, None, "{day}");
            assert_eq!(table.at(at(day + 1, 6, 0, 0)).rate, Some(9), "{day}");
        }
        let sunday = times(&[Day::Sunday], "23:00", "01:00", Some(1));
        let table = Timetable::new(None, &[sunday]).unwrap();
        assert_eq!(table.at(at(6, 23, 0, 0)).rate, Some(1));
        assert_eq!(table.at(at(7, 0, 59, 59_999)).rate, Some(1), "on Monday");
        assert_eq!(table.at(at(0, 0, 30, 0)).rate, Some(1), "on every Monday");
        assert_eq!(table.at(at(7, 1, 0, 0)).rate, None);
        assert!(!table.is_unlimited());
    }

    #[test]
    fn a_whole_day_and_a_whole_week_have_no_gap() {
        let all = times(&Day::ALL, "00:00", "24:00", Some(3));
        let table = Timetable::new(None, &[all]).unwrap();
        for minute in 0..7 * 1440 {
            assert_eq!(table.at(at(0, 0, minute, 0)).rate, Some(3), "{minute}");
        }
        assert!(table.at(at(0, 12, 0, 0)).until.is_some());
        let before_1970 = Timestamp::from_millis(-1);
        assert_eq!(table.at(before_1970).rate, Some(3));
    }

    #[test]
    fn times_that_overlap_are_refused_and_those_that_touch_are_not() {
        let pair = |one: (&str, &str), other: (&str, &str)| {
            let one = times(&[Day::Sunday], one.0, one.1, Some(1));
            let other = times(&[Day::Sunday, Day::Monday], other.0, other.1, Some(2));
            Timetable::new(None, &[one, other]).is_some()
        };
        assert!(pair(("08:00", "12:00"), ("12:00", "13:00")));
        assert!(!pair(("08:00", "12:00"), ("11:59", "13:00")));
        // Past midnight into Monday.
        assert!(!pair(("23:00", "02:00"), ("01:00", "03:00")));
        assert!(pair(("23:00", "01:00"), ("01:00", "03:00")));
    }

    #[test]
    fn no_limit_at_any_time_is_no_limit() {
        assert!(Timetable::default().is_unlimited());
        assert_eq!(Timetable::default().at(at(0, 0, 0, 0)).until, None);
        let day = times(&[Day::Monday], "08:00", "18:00", None);
        assert!(Timetable::new(None, &[day]).unwrap().is_unlimited());
        assert!(!Timetable::new(Some(1), &[]).unwrap().is_unlimited());
    }
}
