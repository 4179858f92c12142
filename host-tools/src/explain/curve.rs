//! A picture of what an element-wise layer does to one number, by the layer's own kernel.

use anstyle::{AnsiColor, Style};
use fluxlet::bijection::{Layer, Shape};
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::Color;
use ratatui_core::symbols::Marker;
use ratatui_core::widgets::Widget;
use ratatui_widgets::canvas::{Canvas, Line};
use serde::Serialize;

use super::page::signed;
use super::shape;

/// Bins of the example.
const BINS: usize = 5;
/// θ of the example, as often as it is needed: uneven bins, a steep and a flat place.
const THETA: [f64; 14] =
    [0.3, -0.4, -0.9, 0.1, 0.5, 0.2, -1.1, 0.9, 0.4, -0.7, -1.6, 1.2, 1.6, -0.6];
/// The interval that is shown reaches a little over a spline's outer knots.
const REACH: f64 = 5.0;
/// Points of the curve.
const POINTS: usize = 201;
/// Half the length of the lines that show the slopes.
const TANGENT: f64 = 0.8;
/// Columns and rows of the picture.
const SIZE: (u16, u16) = (66, 22);

/// A curve x → z and its knots.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// What is shown, in letters.
    pub example: String,
    /// Places on the x axis.
    pub x: Vec<f64>,
    /// The layer there.
    pub z: Vec<f64>,
    /// Knots of a spline: x, z and slope.
    pub knots: Vec<[f64; 3]>,
}

/// A layer of the example's θ.
struct Example {
    layer: Layer,
    shape: Shape,
    w: Vec<f64>,
}

impl Example {
    fn new(layer: Layer, dim: usize) -> Option<Self> {
        let shape =
            shape::example(layer, dim, Some(BINS)).or_else(|| shape::example(layer, dim, None))?;
        let mut w = vec![0.0; layer.weight_len(shape)];
        layer.neutral(shape, 0.0, &mut w);
        let theta: Vec<f64> = THETA.into_iter().cycle().take(layer.theta_len(shape)).collect();
        layer.constrain(shape, &theta, &mut w);
        Some(Self { layer, shape, w })
    }

    /// z, and the logarithm of the slope.
    fn forward(&self, x: &[f64]) -> (Vec<f64>, f64) {
        let mut z = x.to_vec();
        let mut scratch = vec![0.0; self.layer.scratch_len(self.shape)];
        let ladj = self.layer.forward(self.shape, &self.w[..], &mut z, &mut scratch);
        (z, ladj)
    }

    /// Whether no axis sees another, at some places.
    fn is_element_wise(&self) -> bool {
        [-1.7, 0.4, 2.3].iter().all(|&a| {
            let at = |x: [f64; 2]| self.forward(&x).0;
            at([a, 0.6])[0] == at([a, -1.9])[0] && at([0.6, a])[1] == at([-1.9, a])[1]
        })
    }
}

impl Curve {
    /// The curve of a layer that maps each axis for itself, and not along a straight line.
    pub fn of(layer: Layer) -> Option<Self> {
        if layer.is_conditioned() || !Example::new(layer, 2)?.is_element_wise() {
            return None;
        }
        let example = Example::new(layer, 1)?;
        let x: Vec<f64> =
            (0..POINTS).map(|i| REACH * (2.0 * i as f64 / (POINTS - 1) as f64 - 1.0)).collect();
        let (z, ladj): (Vec<f64>, Vec<f64>) =
            x.iter().map(|x| example.forward(&[*x])).map(|(z, ladj)| (z[0], ladj)).unzip();
        let bent = ladj.iter().any(|other| (other - ladj[0]).abs() > 1e-6);
        if !bent || z.iter().chain(&ladj).any(|number| !number.is_finite()) {
            return None;
        }
        let is_spline = matches!(layer, Layer::RationalQuadratic | Layer::RationalLinear);
        let knots = if is_spline { example.w[..3 * (BINS + 1)].as_chunks::<3>().0 } else { &[] };
        let knots = knots.iter().map(|knot| {
            let (z, ladj) = example.forward(&knot[..1]);
            [knot[0], z[0], ladj.exp()]
        });
        let example = match example.shape.arg {
            0 => "D = 1".to_string(),
            arg => format!("D = 1, {} = {arg}", if is_spline { 'K' } else { 'M' }),
        };
        Some(Self { example, knots: knots.collect(), x, z })
    }

    /// The picture: z over x, knots as dots, slopes as short lines.
    pub fn picture(&self) -> String {
        let area = Rect::new(0, 0, SIZE.0, SIZE.1);
        let mut buffer = Buffer::empty(area);
        let low = self.z.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let line = |x1, y1, x2, y2, color| Line { x1, y1, x2, y2, color };
        let canvas = Canvas::default()
            .marker(Marker::Braille)
            .x_bounds([-REACH, REACH])
            .y_bounds([low, high])
            .paint(|context| {
                for [x, z, slope] in &self.knots {
                    let along = TANGENT / (1.0 + slope * slope).sqrt();
                    let (dx, dz) = (along, along * slope);
                    context.draw(&line(x - dx, z - dz, x + dx, z + dz, Color::Yellow));
                }
                // On top of them, in the same layer: where both have dots, both are seen.
                for (x, z) in self.x.windows(2).zip(self.z.windows(2)) {
                    context.draw(&line(x[0], z[0], x[1], z[1], Color::Cyan));
                }
            });
        canvas.render(area, &mut buffer);
        for [x, z, _] in &self.knots {
            let place = |share: f64, cells: u16| (share * f64::from(cells)) as u16;
            let column = place((x + REACH) / (2.0 * REACH), SIZE.0);
            let row = place((high - z) / (high - low), SIZE.1);
            if let Some(cell) = buffer.cell_mut((column, row)) {
                cell.set_symbol("●").set_fg(Color::Reset);
            }
        }
        let mut text = String::new();
        for y in 0..SIZE.1 {
            // Of the z axis its two ends are named.
            let tick = match y {
                0 => format!("{:>6} ┤", signed(high, 1)),
                y if y == SIZE.1 - 1 => format!("{:>6} ┤", signed(low, 1)),
                _ => format!("{:>6} │", if y == SIZE.1 / 2 { "z" } else { "" }),
            };
            text.push_str(&format!("{tick}{}\n", coloured(&buffer, y)));
        }
        let ends = format!("{:<5}{:^56}{:>5}", signed(-REACH, 1), "x", signed(REACH, 1));
        text.push_str(&format!("{:7}└{}\n{:8}{ends}\n", "", "─".repeat(usize::from(SIZE.0)), ""));
        text
    }
}

/// A row of the picture in its colours, without the blanks at its end.
fn coloured(buffer: &Buffer, y: u16) -> String {
    let mut text = String::new();
    for x in 0..SIZE.0 {
        let Some(cell) = buffer.cell((x, y)) else { continue };
        let style = match cell.fg {
            Color::Cyan => AnsiColor::Cyan.on_default(),
            Color::Yellow => AnsiColor::Yellow.on_default(),
            _ if cell.symbol() == "●" => Style::new().bold(),
            _ => Style::new(),
        };
        text.push_str(&format!("{style}{}{style:#}", cell.symbol()));
    }
    text.trim_end().to_string()
}
