//! Scores over time, drawn again in the same place of a terminal.

use std::collections::VecDeque;

use anstyle::{AnsiColor, Style};
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::Color;
use ratatui_core::symbols::Marker;
use ratatui_core::widgets::Widget;
use ratatui_widgets::canvas::{Canvas, Line, Points};

use super::{Alarm, Line as NodeLine};

/// Rows of the picture.
const ROWS: u16 = 16;
/// Columns before the picture, for the axis.
const MARGIN: u16 = 11;
/// Points beside each other in one cell.
const POINTS_A_CELL: usize = 2;

/// The last scores, −log_prob upwards; alarms are red, windows without a score gaps.
pub struct Plot {
    columns: u16,
    points: VecDeque<Option<(f32, bool)>>,
    /// Lines of the terminal that the last picture took.
    drawn: u16,
}

impl Plot {
    /// An empty plot for a terminal of so many columns.
    pub fn new(columns: u16) -> Self {
        let columns = columns.saturating_sub(MARGIN + 1).clamp(10, 200);
        Self { columns, points: VecDeque::new(), drawn: 0 }
    }

    /// Takes a score or a fault; whether there is something new to draw.
    pub fn push(&mut self, line: &NodeLine) -> bool {
        let point = match line {
            NodeLine::Score { log_prob, alarm, .. } => Some((-log_prob, *alarm != Alarm::None)),
            NodeLine::Fault { .. } => None,
            _ => return false,
        };
        if self.points.len() == POINTS_A_CELL * usize::from(self.columns) {
            self.points.pop_front();
        }
        self.points.push_back(point);
        true
    }

    /// What replaces the last picture by the present one, `status` below it.
    pub fn draw(&mut self, status: &str) -> String {
        let mut text = match self.drawn {
            0 => String::new(),
            lines => format!("\x1b[{lines}A"),
        };
        for line in self.picture() {
            text.push_str(&format!("{line}\x1b[K\n"));
        }
        let status: String = status.chars().take(usize::from(self.columns + MARGIN)).collect();
        text.push_str(&format!("{status}\x1b[K\n"));
        self.drawn = ROWS + 1;
        text
    }

    /// The picture, line by line.
    fn picture(&self) -> Vec<String> {
        let area = Rect::new(0, 0, self.columns, ROWS);
        let mut buffer = Buffer::empty(area);
        let (low, high) = self.range();
        let points = (0..).zip(&self.points);
        let points = points.filter_map(|(i, point)| point.map(|(score, alarm)| (i, score, alarm)));
        // Above the picture's upper end a score is drawn at it.
        let points: Vec<(f64, f64, bool)> = points
            .map(|(i, score, alarm)| (f64::from(i), f64::from(score).min(high), alarm))
            .collect();
        let width = POINTS_A_CELL * usize::from(self.columns);
        let canvas = Canvas::default()
            .marker(Marker::Braille)
            .x_bounds([0.0, width as f64])
            .y_bounds([low, high])
            .paint(|context| {
                for pair in points.windows(2) {
                    let [(x1, y1, _), (x2, y2, _)] = *pair else { continue };
                    if x2 - x1 == 1.0 {
                        context.draw(&Line { x1, y1, x2, y2, color: Color::Cyan });
                    }
                }
                for (alarm, color) in [(false, Color::Cyan), (true, Color::Red)] {
                    let coords: Vec<(f64, f64)> =
                        points.iter().filter(|p| p.2 == alarm).map(|p| (p.0, p.1)).collect();
                    context.layer();
                    context.draw(&Points { coords: &coords, color });
                }
            });
        canvas.render(area, &mut buffer);
        (0..ROWS)
            .map(|y| {
                let tick = match y {
                    0 => format!("{high:>9.2} ┤"),
                    y if y == ROWS - 1 => format!("{low:>9.2} ┤"),
                    y if y == ROWS / 2 => format!("{:>9} │", "−log p"),
                    _ => format!("{:>9} │", ""),
                };
                tick + &coloured(&buffer, y)
            })
            .collect()
    }

    /// The ends of the axis: all of the normal scores, and of alarms as much as leaves those visible.
    fn range(&self) -> (f64, f64) {
        let scores = |wanted: bool| {
            let points = self.points.iter().flatten().filter(move |point| point.1 == wanted);
            points.map(|point| f64::from(point.0))
        };
        let ends = |scores: &mut dyn Iterator<Item = f64>| {
            scores.fold(None, |ends: Option<(f64, f64)>, score| {
                Some(ends.map_or((score, score), |(low, high)| (low.min(score), high.max(score))))
            })
        };
        let (low, high) = match (ends(&mut scores(false)), ends(&mut scores(true))) {
            (None, None) => (0.0, 1.0),
            (Some(ends), None) | (None, Some(ends)) => ends,
            (Some((low, high)), Some((alarm_low, alarm_high))) => {
                let reach = high + 3.0 * (high - low).max(1.0);
                (low.min(alarm_low), high.max(alarm_high.min(reach)))
            }
        };
        let room = (0.05 * (high - low)).max(0.05);
        (low - room, high + room)
    }
}

/// A row of the picture in its colours, without the blanks at its end.
fn coloured(buffer: &Buffer, y: u16) -> String {
    let mut text = String::new();
    for x in 0..buffer.area.width {
        let Some(cell) = buffer.cell((x, y)) else { continue };
        let style = match cell.fg {
            Color::Cyan => AnsiColor::Cyan.on_default(),
            Color::Red => AnsiColor::Red.on_default().bold(),
            _ => Style::new(),
        };
        text.push_str(&format!("{style}{}{style:#}", cell.symbol()));
    }
    text.trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(log_prob: f32, alarm: Alarm) -> NodeLine {
        NodeLine::Score { window: 0, log_prob, p_value: None, alarm, channel: None }
    }

    fn text(plot: &mut Plot) -> String {
        anstream::adapter::strip_str(&plot.draw("status")).to_string()
    }

    #[test]
    fn an_empty_plot_has_its_axis_and_any_score_fits() {
        let mut plot = Plot::new(80);
        assert_eq!(text(&mut plot).lines().count(), usize::from(ROWS) + 1);
        for log_prob in [-1e30, 3.0, f32::MAX, f32::MIN, 0.0] {
            assert!(plot.push(&score(log_prob, Alarm::None)));
            assert_eq!(text(&mut plot).lines().count(), usize::from(ROWS) + 1);
        }
        for columns in [0, 1, 5, u16::MAX] {
            Plot::new(columns).draw("");
        }
    }

    #[test]
    fn new_scores_push_the_old_ones_out_at_the_left() {
        let mut plot = Plot::new(40);
        let columns = usize::from(plot.columns);
        plot.push(&score(-9.0, Alarm::None));
        (0..2 * columns).for_each(|_| assert!(plot.push(&score(-2.0, Alarm::None))));
        assert_eq!(plot.points.len(), 2 * columns);
        // The 9 is gone: one flat line across the whole picture.
        let rows: Vec<String> = text(&mut plot).lines().map(str::to_string).collect();
        let dotted = |row: &&String| row.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c));
        assert_eq!(rows.iter().filter(dotted).count(), 1, "{rows:#?}");
    }

    #[test]
    fn an_alarm_is_red_and_leaves_normal_scores_visible() {
        let mut plot = Plot::new(60);
        for i in 0..20 {
            plot.push(&score(-(i % 5) as f32, Alarm::None));
        }
        assert!(!plot.draw("").contains("\x1b[31m"));
        plot.push(&score(-1e6, Alarm::Improbable));
        let drawn = plot.draw("");
        assert!(drawn.contains("\x1b[31m"), "{drawn}");
        // The axis ends near three times the normal spread above it.
        let (low, high) = plot.range();
        assert!(low < 0.0 && (15.0..20.0).contains(&high), "{low} {high}");
    }

    #[test]
    fn a_picture_replaces_the_one_before() {
        let mut plot = Plot::new(60);
        assert!(!plot.draw("").starts_with('\x1b'));
        assert!(plot.draw("").starts_with("\x1b[17A"));
    }
}
