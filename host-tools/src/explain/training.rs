//! Training on two rows, in numbers: cost, gradient, one parameter's share of it, and a step. Every
//! number comes from the kernels that train and score, in `f64`.

use std::fmt::Write;

use fluxlet::Base;
use fluxlet::bijection::{Layer, Shape};
use serde::Serialize;

use super::head::Head;
use super::page::signed;
use crate::stack::{Span, Stack};
use crate::train::{Adam, LEARNING_RATE, Moments, TrainConfig};

/// Where the text stands.
pub const TEXT: &str = "src/flow.rs";
const SOURCE: &str = include_str!("../../../src/flow.rs");

const D: usize = 2;
const K: usize = 3;
/// The two rows.
const ROWS: [[f64; D]; 2] = [[0.9, -0.4], [-1.3, 0.7]];
/// θ: shift and ln scale, v, then width, height and slope numbers of each axis' spline.
const THETA: [f64; 22] = [
    0.1, -0.2, 0.2, -0.1, // Affine
    0.4, 1.0, // Householder
    0.0, 0.6, -0.3, 0.5, 0.0, 0.2, 0.3, -0.5, // spline of axis 0
    0.2, 0.4, 0.0, -0.2, 0.3, 0.1, 0.8, 0.1, // spline of axis 1
];
/// The parameter that is followed: the first inner slope of axis 0, behind K widths and K heights.
const SLOPE_THETA: usize = 2 * K;
/// Its weight: the third number of the second knot.
const SLOPE_WEIGHT: usize = 3 + 2;
/// Half the difference that the check takes.
const STEP: f64 = 1e-5;

/// One row's way through the layers and back.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The row, then what each layer makes of it; the last is z.
    pub x: Vec<[f64; D]>,
    /// Each layer's ladj.
    pub ladj: Vec<f64>,
    /// log p_base(z).
    pub log_base: f64,
    /// log p(x).
    pub log_prob: f64,
    /// Gradient of the cost with respect to each of `x`.
    pub dx: Vec<[f64; D]>,
    /// What the row adds to the gradient of the slope.
    pub dslope: f64,
}

/// The gradient of one parameter.
#[derive(Clone, Debug, Serialize)]
pub struct Parameter {
    /// Which it is.
    pub name: &'static str,
    /// θ.
    pub theta: f64,
    /// The slope that `constrain` makes of it.
    pub slope: f64,
    /// Gradient of the cost with respect to the slope.
    pub dslope: f64,
    /// s.
    pub mean_slope: f64,
    /// σ(θ).
    pub logistic: f64,
    /// Gradient with respect to θ, of `constrain_backward`.
    pub dtheta: f64,
    /// The same from the costs of two neighbours.
    pub finite_difference: f64,
}

/// What Adam does with the gradient.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Length of the whole gradient.
    pub length: f64,
    /// The greatest length that it may have.
    pub clip: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// The parameter behind the step.
    pub theta: f64,
    /// The cost there.
    pub cost: f64,
}

/// The whole example.
#[derive(Clone, Debug, Serialize)]
pub struct Worked {
    /// Names of the layers.
    pub layers: Vec<&'static str>,
    /// The rows.
    pub rows: Vec<Row>,
    /// Mean NLL.
    pub cost: f64,
    /// Gradient of the cost with respect to every row's ladj of every layer.
    pub dladj: f64,
    /// The parameter that is followed.
    pub parameter: Parameter,
    /// The step.
    pub step: Step,
}

/// The core's text on training, cut at its parts.
pub fn head() -> Head {
    Head::cut(Head::of(SOURCE).section("Training").unwrap_or_default(), "## ")
}

fn stack() -> Stack {
    let shape = |arg| Shape::new(D, arg, 0);
    let layers = vec![
        (Layer::Affine, shape(0)),
        (Layer::Householder, shape(1)),
        (Layer::RationalQuadratic, shape(K)),
    ];
    Stack { dim: D, context: 0, layers, base: Base::Normal }
}

fn weights(stack: &Stack, theta: &[f64]) -> Vec<f64> {
    let mut w = vec![0.0; stack.weight_len()];
    for Span { layer, shape, weights, .. } in stack.spans() {
        layer.neutral(shape, 0.0, &mut w[weights]);
    }
    stack.constrain(theta, &mut w);
    w
}

fn forward(stack: &Stack, w: &[f64], row: [f64; D]) -> Row {
    let (mut x, mut ladj) = (vec![row], Vec::new());
    let mut z = row;
    for Span { layer, shape, weights, .. } in stack.spans() {
        ladj.push(layer.forward(shape, &w[weights], &mut z, &mut [0.0; D]));
        x.push(z);
    }
    let log_base = stack.base.log_prob(&[][..], &z, &mut []);
    let log_prob = log_base + ladj.iter().sum::<f64>();
    Row { x, ladj, log_base, log_prob, dx: Vec::new(), dslope: 0.0 }
}

fn cost(stack: &Stack, theta: &[f64]) -> f64 {
    let w = weights(stack, theta);
    let log_probs = ROWS.iter().map(|row| forward(stack, &w, *row).log_prob);
    -log_probs.sum::<f64>() / ROWS.len() as f64
}

/// Adds to `dw` what the row means for the weights, and fills in its gradients.
fn backward(stack: &Stack, w: &[f64], row: &mut Row, share: f64, dw: &mut [f64]) {
    let mut dz = row.x[row.x.len() - 1];
    stack.base.backward(&[][..], &mut dz, share, &mut [][..], &mut []);
    row.dx = vec![dz];
    let spans: Vec<Span> = stack.spans().collect();
    for (span, x) in spans.iter().zip(&row.x).rev() {
        let (mut x, weights) = (*x, span.weights.clone());
        let (w, dw) = (&w[weights.clone()], &mut dw[weights]);
        let mut scratch = vec![0.0; span.layer.backward_scratch_len(span.shape)];
        span.layer.backward(span.shape, w, &mut x, &mut dz, share, dw, &mut scratch);
        row.dx.insert(0, dz);
    }
}

impl Worked {
    /// Computes the example.
    pub fn new() -> Self {
        let stack = stack();
        let w = weights(&stack, &THETA);
        // Every log p(x) counts −1/n in the cost.
        let share = -1.0 / ROWS.len() as f64;
        let (slope_theta, slope_weight) = stack
            .spans()
            .last()
            .map_or((0, 0), |s| (s.theta.start + SLOPE_THETA, s.weights.start + SLOPE_WEIGHT));
        let mut dw = vec![0.0; w.len()];
        let rows: Vec<Row> = ROWS
            .iter()
            .map(|row| {
                let mut row = forward(&stack, &w, *row);
                let before = dw[slope_weight];
                backward(&stack, &w, &mut row, share, &mut dw);
                row.dslope = dw[slope_weight] - before;
                row
            })
            .collect();
        let mut dtheta = vec![0.0; THETA.len()];
        stack.constrain_backward(&THETA, &w, &dw, &mut dtheta);

        let beside = |difference: f64| {
            let mut theta = THETA;
            theta[slope_theta] += difference;
            cost(&stack, &theta)
        };
        let knots = &w[slope_weight - SLOPE_WEIGHT..];
        let theta = THETA[slope_theta];
        let parameter = Parameter {
            name: "the first inner slope of the spline on axis 0",
            theta,
            slope: w[slope_weight],
            dslope: dw[slope_weight],
            mean_slope: (knots[3 * K + 1] - knots[1]) / (knots[3 * K] - knots[0]),
            logistic: 1.0 / (1.0 + (-theta).exp()),
            dtheta: dtheta[slope_theta],
            finite_difference: (beside(STEP) - beside(-STEP)) / (2.0 * STEP),
        };
        Self {
            layers: stack.layers.iter().map(|(layer, _)| layer.name()).collect(),
            rows,
            cost: cost(&stack, &THETA),
            dladj: share,
            parameter,
            step: step(&stack, &dtheta, slope_theta),
        }
    }

    /// What the example is.
    pub fn example(&self) -> String {
        format!(
            "The example: {} rows of D = {D} numbers, through {} with K = {K} bins to a standard \
             normal base. Followed is one parameter: {}. Every number was computed just now, by the \
             kernels that train and score.",
            self.rows.len(),
            self.layers.join(" → "),
            self.parameter.name
        )
    }

    /// The numbers that belong to a part of the text.
    pub fn numbers(&self, title: &str) -> Option<String> {
        let mut text = String::new();
        match title {
            "The cost" => self.write_cost(&mut text),
            "Backward through the layers" => self.write_backward(&mut text),
            "From weights to parameters" => self.write_parameter(&mut text),
            "The step" => self.write_step(&mut text),
            _ => return None,
        }
        .ok()?;
        Some(text)
    }

    fn write_cost(&self, f: &mut String) -> std::fmt::Result {
        self.write_head(f)?;
        for stage in 0..=self.layers.len() {
            write!(f, "{:<22}", self.stage(stage))?;
            for row in &self.rows {
                write!(f, " {}", pair(row.x[stage]))?;
                match stage.checked_sub(1) {
                    Some(layer) => write!(f, "  {:>7}", signed(row.ladj[layer], 4))?,
                    None => write!(f, "  {:>7}", "ladj")?,
                }
            }
            writeln!(f)?;
        }
        let mut line = |name: &str, value: fn(&Row) -> f64| {
            let values = self.rows.iter().map(|row| format!("{:>27}", signed(value(row), 4)));
            writeln!(f, "{name:<22}{}", values.collect::<String>())
        };
        line("Σ ladj", |row| row.ladj.iter().sum())?;
        line("log p_base(z)", |row| row.log_base)?;
        line("log p(x), their sum", |row| row.log_prob)?;
        let sum = self.rows.iter().map(|row| format!("({})", signed(row.log_prob, 4)));
        let sum = sum.collect::<Vec<_>>().join(" + ");
        writeln!(f, "\ncost = −½ ({sum}) = {}", signed(self.cost, 4))
    }

    fn write_backward(&self, f: &mut String) -> std::fmt::Result {
        self.write_head(f)?;
        for stage in (0..=self.layers.len()).rev() {
            let last = stage == self.layers.len();
            let name =
                if last { "dz = z/n".into() } else { format!("before {}", self.layers[stage]) };
            write!(f, "{name:<24}")?;
            for row in &self.rows {
                write!(f, " {:<26}", pair(row.dx[stage]))?;
            }
            writeln!(f)?;
        }
        write!(f, "{:<24}", "dslope")?;
        for row in &self.rows {
            write!(f, " {:<26}", format!("{:>8}", signed(row.dslope, 4)))?;
        }
        writeln!(f, "\n\ndladj = {} for each row and layer", signed(self.dladj, 4))
    }

    fn write_parameter(&self, f: &mut String) -> std::fmt::Result {
        let p = &self.parameter;
        let parts = self.rows.iter().map(|row| format!("({})", signed(row.dslope, 6)));
        let (theta, dslope) = (signed(p.theta, 4), signed(p.dslope, 6));
        writeln!(
            f,
            "θ = {theta} makes the slope {}, with s = {:.4}",
            signed(p.slope, 6),
            p.mean_slope
        )?;
        writeln!(f, "dslope = {} = {dslope}", parts.collect::<Vec<_>>().join(" + "))?;
        let product = signed(p.dslope * p.mean_slope * p.logistic, 9);
        writeln!(f, "dθ = dslope s σ(θ) = ({dslope}) · {:.4} · {:.6}\n", p.mean_slope, p.logistic)?;
        writeln!(f, "{:<34}{product:>13}", "by this formula")?;
        writeln!(f, "{:<34}{:>13}", "by constrain_backward", signed(p.dtheta, 9))?;
        let check = "(cost(θ + h) − cost(θ − h))/2h";
        writeln!(f, "{check:<34}{:>13}, h = {STEP:e}", signed(p.finite_difference, 9))
    }

    fn write_step(&self, f: &mut String) -> std::fmt::Result {
        let (p, step) = (&self.parameter, &self.step);
        let clipped = if step.length > step.clip { "shortened to it" } else { "left as it is" };
        writeln!(f, "length of all of dθ: {:.4}, at most {}: {clipped}", step.length, step.clip)?;
        let (before, after) = (signed(p.theta, 6), signed(step.theta, 6));
        let moved = signed(step.theta - p.theta, 6);
        writeln!(f, "θ: {before} → {after}, moved by {moved}; the rate is {}", step.learning_rate)?;
        writeln!(
            f,
            "cost: {} → {}, all {} parameters moved",
            signed(self.cost, 6),
            signed(step.cost, 6),
            THETA.len()
        )
    }

    fn write_head(&self, f: &mut String) -> std::fmt::Result {
        write!(f, "{:<22}", "")?;
        for index in 1..=self.rows.len() {
            write!(f, "   {:<24}", format!("row {index}"))?;
        }
        writeln!(f)
    }

    /// What stands behind `stage` layers.
    fn stage(&self, stage: usize) -> String {
        match stage.checked_sub(1) {
            None => "x".into(),
            Some(layer) if stage == self.layers.len() => format!("{} = z", self.layers[layer]),
            Some(layer) => self.layers[layer].into(),
        }
    }
}

impl Default for Worked {
    fn default() -> Self {
        Self::new()
    }
}

/// Adam's first step along the gradient.
fn step(stack: &Stack, dtheta: &[f64], followed: usize) -> Step {
    let (learning_rate, clip) = (LEARNING_RATE, TrainConfig::default().clip);
    let mut theta = THETA.map(|theta| theta as f32);
    let gradient: Vec<f32> = dtheta.iter().map(|d| *d as f32).collect();
    let (adam, mut moments) = (Adam::new(Vec::new(), clip), Moments::new(theta.len()));
    adam.step(&mut moments, &mut theta, &gradient, 1.0, learning_rate);
    let theta = theta.map(f64::from);
    let length = dtheta.iter().map(|d| d * d).sum::<f64>().sqrt();
    Step { length, clip, learning_rate, theta: theta[followed], cost: cost(stack, &theta) }
}

fn pair(x: [f64; D]) -> String {
    x.map(|x| format!("{:>8}", signed(x, 4))).join(" ")
}
