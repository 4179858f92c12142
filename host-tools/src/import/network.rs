//! Places the matrices of a network trained elsewhere in the order of a conditioner's weights.

use fluxlet::bijection::{Layer, Shape, option};
use fluxlet::conditioner::{Activation, MAX_DEPTH, Network};

use super::Source;
use super::parts::Part;

/// One product of a network, W \[rows, columns\].
pub(super) struct Linear {
    rows: usize,
    columns: usize,
    weight: Vec<f64>,
    bias: Vec<f64>,
    /// What may differ from 0; everything where there is no mask.
    mask: Option<Vec<bool>>,
}

impl Linear {
    /// Reads `name.weight`, `name.bias` and `name.mask`, the last two where they are there.
    pub(super) fn read(source: &Source, name: &str) -> Result<Self, String> {
        let weight = source.tensor(&format!("{name}.weight"))?;
        let [rows, columns] = weight.shape[..] else {
            return Err(format!("tensor {name}.weight is no matrix"));
        };
        let read = |part: &str, shape: &[usize]| -> Result<Option<Vec<f64>>, String> {
            let name = format!("{name}.{part}");
            source.has(&name).then(|| source.values(&name, shape)).transpose()
        };
        let bias = read("bias", &[rows])?.unwrap_or_else(|| vec![0.0; rows]);
        let mask = read("mask", &[rows, columns])?;
        let mask = mask.map(|mask| mask.into_iter().map(|m| m != 0.0).collect());
        Ok(Self { rows, columns, weight: weight.values, bias, mask })
    }

    /// Multiplies a row and its bias.
    pub(super) fn scale_row(&mut self, row: usize, factor: f64) {
        self.bias[row] *= factor;
        let weights = &mut self.weight[row * self.columns..(row + 1) * self.columns];
        weights.iter_mut().for_each(|weight| *weight *= factor);
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn bias(&self) -> &[f64] {
        &self.bias
    }

    fn sees(&self, row: usize, column: usize) -> bool {
        self.mask.as_ref().is_none_or(|mask| mask[row * self.columns + column])
    }

    /// Whether the row sees each of these columns, and no other.
    fn sees_just(&self, row: usize, columns: &[usize]) -> bool {
        let inside = |column: &usize| *column < self.columns && self.sees(row, *column);
        columns.iter().all(inside) && self.sees_no_more(row, columns)
    }

    /// Whether these columns exist and the row sees no other than them.
    fn sees_no_more(&self, row: usize, columns: &[usize]) -> bool {
        let mut others = vec![true; self.columns];
        for column in columns {
            match others.get_mut(*column) {
                Some(other) => *other = false,
                None => return false,
            }
        }
        others.iter().enumerate().all(|(column, other)| !other || !self.sees(row, column))
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        if self.sees(row, column) { self.weight[row * self.columns + column] } else { 0.0 }
    }
}

/// A network trained elsewhere.
pub(super) struct Trained<'a> {
    /// Hidden layers in order, then the outputs.
    pub(super) layers: Vec<Linear>,
    /// From the inputs directly to the outputs.
    pub(super) skip: Option<Linear>,
    /// Column of each of our inputs: the context, then the variables in their order.
    pub(super) inputs: Vec<usize>,
    /// Row of each of our outputs: of the variables known, and the position among the step's outputs;
    /// `None` for one that is always 0.
    pub(super) output: &'a dyn Fn(usize, usize) -> Option<usize>,
    pub(super) activation: Activation,
    /// Widths as our shape says them; with residual blocks, units and blocks.
    pub(super) hidden: Vec<usize>,
}

/// The activation of this name.
pub(super) fn activation(name: &str) -> Result<Activation, String> {
    let found = Activation::ALL.into_iter().find(|activation| activation.name() == name);
    found.ok_or_else(|| format!("activation \"{name}\" has no counterpart here"))
}

/// A shape with this network, whose layer reads the context if there is one.
pub(super) fn shape(
    mut shape: Shape,
    transformer: Layer,
    context: usize,
    network: &Trained,
) -> Result<Shape, String> {
    let mut hidden = [0; MAX_DEPTH];
    if network.hidden.len() > MAX_DEPTH {
        let found = network.hidden.len();
        return Err(format!("{found} hidden layers, at most {MAX_DEPTH} are possible"));
    }
    for (slot, width) in hidden.iter_mut().zip(&network.hidden) {
        *slot = u16::try_from(*width).map_err(|_| format!("a hidden layer of {width} units"))?;
    }
    shape.transformer = transformer;
    shape.context = context;
    shape.option |= if context > 0 { option::CONTEXT } else { 0 };
    shape.option |= if network.skip.is_some() { option::SKIP } else { 0 };
    shape.network = Network { hidden, activation: network.activation };
    Ok(shape)
}

/// A layer of this shape with its network's weights in place; tries both ways of spreading degrees.
pub(super) fn part(layer: Layer, shape: Shape, network: &Trained) -> Result<Part, String> {
    if layer != Layer::Autoregressive {
        let mut part = Part::neutral(layer, shape)?;
        place(&mut part, network)?;
        return Ok(part);
    }
    let mut said = String::new();
    for spread in [0, option::SPREAD] {
        let shape = Shape { option: shape.option | spread, ..shape };
        let mut part = Part::neutral(layer, shape)?;
        match place(&mut part, network) {
            Ok(()) => return Ok(part),
            Err(why) => said = why,
        }
    }
    Err(said)
}

fn place(part: &mut Part, network: &Trained) -> Result<(), String> {
    let Part { layer, shape, w } = part;
    let (conditioner, start) = layer.conditioner(*shape).ok_or("a layer without a network")?;
    let hidden = network.layers.len() - 1;
    if conditioner.layers() != hidden {
        return Err(format!("{hidden} hidden products, not {}", conditioner.layers()));
    }
    let masked = *layer == Layer::Autoregressive;
    let units = units(shape, network, masked)?;
    let mut used = vec![false; network.layers[hidden].rows];
    for group in conditioner.groups() {
        let linear = &network.layers[group.layer.unwrap_or(hidden)];
        // The columns of a row: the units before it, or the inputs; then what skips.
        let before: &[usize] = match group.layer {
            Some(0) => &network.inputs,
            Some(l) => &units[l - 1],
            None => &units[hidden - 1],
        };
        let direct = match (group.layer, &network.skip) {
            (None, Some(_)) => shape.context + group.known,
            _ => 0,
        };
        let seen = before.get(..group.fan_in - direct);
        let seen = seen.ok_or("its masks are not those that its degrees imply")?;
        for row in 0..group.count {
            let from = match group.layer {
                Some(l) => units[l].get(group.first + row).copied(),
                None => (network.output)(group.known, row),
            };
            let Some(from) = from else {
                if group.layer.is_some() {
                    return Err("its masks are not those that its degrees imply".into());
                }
                (0..=group.fan_in).for_each(|c| w[start + group.position(row, c)] = 0.0);
                continue;
            };
            if from >= linear.rows {
                return Err(format!("its network has {} outputs, too few", linear.rows));
            }
            w[start + group.position(row, 0)] = linear.bias[from];
            // A dense layer may leave out what it could see, a masked one may not; neither sees more.
            let whole =
                if masked { linear.sees_just(from, seen) } else { linear.sees_no_more(from, seen) };
            if !whole {
                return Err("its masks are not those that its degrees imply".into());
            }
            for (column, unit) in seen.iter().enumerate() {
                w[start + group.position(row, column + 1)] = linear.at(from, *unit);
            }
            if group.layer.is_none() {
                used[from] = true;
            }
            if let (None, Some(skip)) = (group.layer, &network.skip) {
                let known = &network.inputs[..direct];
                if from >= skip.rows || !skip.sees_just(from, known) {
                    return Err("its skip connections are not those that its degrees imply".into());
                }
                for (i, input) in known.iter().enumerate() {
                    w[start + group.position(row, seen.len() + i + 1)] = skip.at(from, *input);
                }
            }
        }
    }
    // An output that no map of ours takes may only be a constant, which the caller knows about.
    let outputs = &network.layers[hidden];
    match (0..outputs.rows).find(|row| !used[*row] && !outputs.sees_no_more(*row, &[])) {
        Some(_) if outputs.mask.is_some() => {
            Err("its masks are not those that its degrees imply".into())
        }
        Some(row) => Err(format!("nothing takes output {row} of its {}", outputs.rows)),
        None => Ok(()),
    }
}

/// The units of each hidden layer in our order: by degree where the network is masked.
fn units(shape: &Shape, network: &Trained, masked: bool) -> Result<Vec<Vec<usize>>, String> {
    let hidden = &network.layers[..network.layers.len() - 1];
    if !masked {
        return Ok(hidden.iter().map(|linear| (0..linear.rows).collect()).collect());
    }
    // Degree of each column of the layer before: 0 for the context, k + 1 for the k-th variable.
    let mut degrees = vec![0; network.inputs.len()];
    for (i, column) in network.inputs.iter().enumerate() {
        let degree = (i + 1).saturating_sub(shape.context);
        *degrees.get_mut(*column).ok_or("its inputs are not those of the layer")? = degree;
    }
    let mut orders = Vec::new();
    for linear in hidden {
        if linear.columns != degrees.len() {
            return Err(format!(
                "a layer of {} inputs behind {} units",
                linear.columns,
                degrees.len()
            ));
        }
        let degree = |row: usize| {
            let seen = (0..linear.columns).filter(|column| linear.sees(row, *column));
            seen.map(|column| degrees[column]).max().unwrap_or(0)
        };
        let own: Vec<usize> = (0..linear.rows).map(degree).collect();
        let mut order: Vec<usize> = (0..linear.rows).collect();
        order.sort_by_key(|unit| own[*unit]);
        degrees = own;
        orders.push(order);
    }
    Ok(orders)
}
