//! What was measured, as a table for people and as JSON lines.

use serde_json::{Value, json};

/// Medians with their spread, in one unit.
#[derive(Clone, Debug)]
pub struct Figure {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub rounds: usize,
}

impl Figure {
    /// Of one value a round.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        };
        Some(Self {
            median,
            min,
            max,
            rounds: sorted.len(),
        })
    }

    fn json(&self) -> Value {
        let [median, min, max] = [self.median, self.min, self.max].map(rounded);
        json!({"median": median, "min": min, "max": max, "rounds": self.rounds})
    }
}

/// What is wanted of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted {
    AtLeast(f64),
    Below(f64),
}

impl Wanted {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::Below(limit) => value < limit,
        }
    }

    pub fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {}", number(least)),
            Self::Below(limit) => format!("< {}", number(limit)),
        }
    }
}

/// One who did the work, or one thing that was looked at.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: String,
    /// How it seals at rest; empty where that is no question.
    pub sealed: String,
    pub figure: Figure,
    /// How many times better ours was, of pairs in the same round.
    pub ratio: Option<Figure>,
    /// Of the ratio where there is one, of the figure otherwise.
    pub wanted: Option<Wanted>,
}

impl Line {
    pub fn plain(name: &str, figure: Figure, wanted: Option<Wanted>) -> Self {
        Self {
            name: name.to_owned(),
            sealed: String::new(),
            figure,
            ratio: None,
            wanted,
        }
    }

    pub fn is_met(&self) -> Option<bool> {
        let value = self.ratio.as_ref().unwrap_or(&self.figure).median;
        self.wanted.map(|wanted| wanted.is_met(value))
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "sealed": self.sealed,
            "figure": self.figure.json(),
            "ratio": self.ratio.as_ref().map(Figure::json),
            "wanted": self.wanted.map(Wanted::text),
            "met": self.is_met(),
        })
    }
}

/// One piece of work and all who did it.
#[derive(Clone, Debug)]
pub struct Table {
    /// As given to `--only`.
    pub work: &'static str,
    pub title: String,
    pub unit: &'static str,
    pub lines: Vec<Line>,
    /// What else was seen, a sentence each.
    pub notes: Vec<String>,
}

impl Table {
    pub fn json(&self) -> Value {
        json!({
            "work": self.work,
            "title": self.title,
            "unit": self.unit,
            "lines": self.lines.iter().map(Line::json).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }

    pub fn print(&self) {
        println!("\n{} ({})", self.title, self.unit);
        println!(
            "  {:<38} {:>9}  {:<19} {:>8}  {:<13} {:<9} at rest",
            "", "median", "min – max", "ours is", "min – max", "wanted"
        );
        for line in &self.lines {
            let figure = &line.figure;
            let ratio = line.ratio.as_ref();
            let verdict = match (line.wanted, line.is_met()) {
                (Some(wanted), Some(true)) => wanted.text(),
                (Some(wanted), _) => format!("{} MISSED", wanted.text()),
                _ => String::new(),
            };
            println!(
                "  {:<38} {:>9}  {:<19} {:>8}  {:<13} {:<9} {}",
                line.name,
                number(figure.median),
                spread(figure),
                ratio.map_or(String::new(), |r| format!("× {}", number(r.median))),
                ratio.map_or(String::new(), spread),
                verdict,
                line.sealed,
            );
        }
        for note in &self.notes {
            println!("  {note}");
        }
    }
}

pub fn spread(figure: &Figure) -> String {
    match figure.rounds {
        0 | 1 => "one round".to_owned(),
        _ => format!("{} – {}", number(figure.min), number(figure.max)),
    }
}

/// Three digits that say something, and thousands apart.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
