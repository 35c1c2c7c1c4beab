//! The tables as a picture: two columns of bars, legible on light and on dark.

use std::fmt::Write;

use crate::report::{Line, Table, number};

const MARGIN: usize = 24;
const COLUMN: usize = 560;
const GAP: usize = 48;
const WIDTH: usize = 2 * MARGIN + 2 * COLUMN + GAP;
const LINE: usize = 22;
/// Above a table's first line.
const HEAD: usize = 44;
/// Above the first table: what this is, and what it was measured on.
const TOP: usize = 84;
const NAME: usize = 232;
const BAR: usize = 150;

const STYLE: &str = "\
text { font: 13px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #1f2328; }
.title { font-size: 20px; font-weight: 600; }
.work { font-weight: 600; }
.soft { fill: #59636e; font-size: 12px; }
.ours { font-weight: 600; }
.met { fill: #1a7f37; }
.missed { fill: #9a6700; }
.bar { fill: #afb8c1; }
.bar.ours { fill: #0969da; }
.rule { stroke: #d1d9e0; }
.page { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .soft { fill: #9198a1; }
  .met { fill: #3fb950; }
  .missed { fill: #d29922; }
  .bar { fill: #4a525c; }
  .bar.ours { fill: #4493f8; }
  .rule { stroke: #3d444d; }
  .page { fill: #0d1117; }
}
";

/// Draws the tables that compare someone.
pub fn draw(facts: &[String], tables: &[Table]) -> String {
    let tables: Vec<&Table> = tables.iter().filter(|table| compares(table)).collect();
    let whole: usize = tables.iter().map(|table| height(table)).sum();
    let (mut drawn, mut column, mut y, mut lowest) = (String::new(), 0, TOP, TOP);
    for table in tables {
        if column == 0 && y > TOP && y - TOP + height(table) / 2 > whole / 2 {
            (column, y) = (1, TOP);
        }
        let x = MARGIN + column * (COLUMN + GAP);
        draw_table(&mut drawn, table, x, y);
        y += height(table);
        lowest = lowest.max(y);
    }
    let height = lowest + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\" \
         aria-label=\"sealift beside other programs\">\n<style>\n{STYLE}</style>\n\
         <rect class=\"page\" width=\"100%\" height=\"100%\" rx=\"8\"/>\n"
    );
    let says = "sealift beside what one would pick instead: medians of runs by turns";
    text(&mut svg, MARGIN, 36, "title", "start", says);
    let on = facts.first().map(String::as_str).unwrap_or_default();
    text(&mut svg, MARGIN, 58, "soft", "start", on);
    svg.push_str(&drawn);
    svg.push_str("</svg>\n");
    svg
}

fn compares(table: &Table) -> bool {
    table.lines.iter().any(|line| line.ratio.is_some())
}

/// Lines of figures in the table's own unit.
fn lines(table: &Table) -> impl Iterator<Item = &Line> {
    let is_first = |index| index == 0;
    let lines = table.lines.iter().enumerate();
    lines
        .filter(move |(index, line)| is_first(*index) || line.ratio.is_some())
        .map(|(_, line)| line)
}

fn height(table: &Table) -> usize {
    HEAD + lines(table).count() * LINE + LINE / 2
}

fn draw_table(svg: &mut String, table: &Table, x: usize, y: usize) {
    let right = x + COLUMN;
    let unit = table.unit.split(' ').next().unwrap_or_default();
    let title = format!("{} ({unit})", table.title);
    text(svg, x, y + 22, "work", "start", &title);
    text(svg, right, y + 22, "soft", "end", "ours is · wanted");
    let _ = writeln!(
        svg,
        "<line class=\"rule\" x1=\"{x}\" x2=\"{right}\" y1=\"{0}\" y2=\"{0}\"/>",
        y + 30
    );
    let largest = lines(table)
        .map(|line| line.figure.median)
        .fold(0.0, f64::max);
    for (index, line) in lines(table).enumerate() {
        let (top, ours) = (y + HEAD + index * LINE, index == 0);
        let base = top + 4;
        let class = if ours { "ours" } else { "" };
        text(svg, x, base, class, "start", &line.name);
        let length = (line.figure.median / largest * BAR as f64).max(1.0);
        let _ = writeln!(
            svg,
            "<rect class=\"bar {class}\" x=\"{}\" y=\"{}\" width=\"{length:.1}\" height=\"12\" rx=\"2\"/>",
            x + NAME,
            top - 6
        );
        let value = number(line.figure.median);
        let after = x + NAME + length as usize + 6;
        text(svg, after, base, class, "start", &value);
        if let Some(ratio) = &line.ratio {
            text(
                svg,
                right - 64,
                base,
                class_of(line),
                "end",
                &format!("× {}", number(ratio.median)),
            );
        }
        if let Some(wanted) = line.wanted {
            text(svg, right, base, class_of(line), "end", &wanted.text());
        }
    }
}

fn class_of(line: &Line) -> &'static str {
    match line.is_met() {
        Some(true) => "met",
        Some(false) => "missed",
        None => "",
    }
}

fn text(svg: &mut String, x: usize, y: usize, class: &str, anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x}\" y=\"{y}\" class=\"{class}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}
