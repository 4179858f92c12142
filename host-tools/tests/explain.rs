//! `fluxlet explain`: what the documentation says is what the layers do.

mod support;

use fluxlet::bijection::{Layer, Shape};
use fluxlet_tools::explain::curve::Curve;
use fluxlet_tools::explain::head::Head;
use fluxlet_tools::explain::training::Worked;
use fluxlet_tools::explain::{self, Explanation, formula, measured, shape};
use support::Folder;

fn head(layer: Layer) -> Head {
    Head::of(layer.source())
}

/// Shapes of a layer: many D, the usual argument and others.
fn shapes(layer: Layer) -> Vec<Shape> {
    let dims = [1, 2, 3, 5, 8, 16];
    let arguments = [None].into_iter().chain((1..=9).map(Some));
    let pairs = arguments.flat_map(|arg| dims.map(|dim| (dim, arg)));
    pairs.filter_map(|(dim, arg)| shape::example(layer, dim, arg)).collect()
}

#[test]
fn every_layer_has_a_summary_and_all_sections() {
    for layer in Layer::ALL {
        let (name, head) = (layer.name(), head(*layer));
        assert!(!head.first_sentence().is_empty(), "{name}: no summary");
        for title in ["Formula", "Parameters", "Inverse", "Gradient", "Source"] {
            let text = head.section(title).unwrap_or_else(|| panic!("{name}: no # {title}"));
            assert!(text.len() > 10, "{name}: nothing under # {title}");
        }
        let gradient = head.section("Gradient").unwrap();
        assert!(gradient.contains("dx"), "{name}: its gradient has no dx");
    }
}

#[test]
fn the_documented_formula_gives_the_number_of_parameters() {
    for &layer in Layer::ALL {
        let head = head(layer);
        let text = head.section("Parameters").and_then(formula::of_section);
        let text = text.unwrap_or_else(|| panic!("{}: no formula", layer.name()));
        let shapes = shapes(layer);
        assert!(shapes.len() >= 3, "{}: only {} shapes", layer.name(), shapes.len());
        for shape in shapes {
            let letters = shape::letters(shape, text);
            let value = formula::evaluate(text, &letters);
            assert_eq!(value, Some(layer.theta_len(shape)), "{}: {text}, {shape:?}", layer.name());
            let substituted = formula::substitute(text, &letters).unwrap();
            assert_eq!(formula::evaluate(&substituted, &[]), value, "{substituted}");
        }
    }
}

#[test]
fn every_layer_was_measured_at_its_example() {
    for &layer in Layer::ALL {
        let measured = measured::of(layer).unwrap();
        let name = layer.name();
        let measured = measured.unwrap_or_else(|| {
            panic!(
                "{name} is missing: fluxlet cost --layers -o host-tools/src/explain/measured.json"
            )
        });
        let shape = shape::example(layer, shape::DIM, None).unwrap();
        assert_eq!((measured.dim, measured.arg), (shape.dim, shape.arg), "{name}");
        assert!(measured.m4f > 0 && measured.m0 > measured.m4f, "{measured:?}");
    }
}

#[test]
fn a_layer_is_found_by_file_and_type_in_any_writing() {
    for text in
        ["rational-quadratic", "rational_quadratic", "RationalQuadratic", "RATIONALQUADRATIC"]
    {
        assert_eq!(explain::find(text).unwrap(), Layer::RationalQuadratic, "{text}");
    }
    for &layer in Layer::ALL {
        assert_eq!(explain::find(layer.name()).unwrap(), layer);
        assert_eq!(explain::find(layer.file()).unwrap(), layer);
        assert_eq!(explain::find(&explain::name(layer)).unwrap(), layer);
    }
}

#[test]
fn an_unknown_layer_names_those_that_may_be_meant() {
    let folder = Folder::new();
    let spline = folder.fails("explain spline");
    assert!(
        spline.contains("rational-quadratic") && spline.contains("rational-linear"),
        "{spline}"
    );
    assert!(folder.fails("explain housholder").ends_with("did you mean householder?"));
    assert!(folder.fails("explain cosine").contains("dct"));
    assert!(folder.fails("explain xyzzy").ends_with("`fluxlet explain` lists them"));
    assert!(folder.fails("explain householder --arg 65535").contains("65535"));
    assert!(folder.fails("explain affine --arg 3").contains("no such layer"));
}

#[test]
fn the_table_has_every_layer_and_its_formula() {
    let folder = Folder::new();
    let table = folder.ok("explain");
    let lines = folder.json("explain --json");
    assert_eq!(lines.as_array().unwrap().len(), Layer::ALL.len());
    for (line, layer) in lines.as_array().unwrap().iter().zip(Layer::ALL) {
        let name = line["name"].as_str().unwrap();
        assert_eq!(name, layer.file().replace('_', "-"));
        let row = table.lines().find(|row| row.split_whitespace().next() == Some(name));
        assert!(row.unwrap().contains(line["parameters"].as_str().unwrap()), "{table}");
    }
}

#[test]
fn a_page_puts_the_numbers_that_were_asked_for_into_the_formula() {
    let folder = Folder::new();
    let page = folder.ok("explain rational-quadratic");
    assert!(page.contains("D (3 K − 1) = 8 · (3 · 8 − 1) = 184 for D = 8, K = 8"), "{page}");
    let page = folder.ok("explain rational-linear --dim 3 --arg 5");
    assert!(page.contains("D (4 K − 1) = 3 · (4 · 5 − 1) = 57 for D = 3, K = 5"), "{page}");
    let page = folder.ok("explain householder");
    assert!(page.contains("M D = 4 · 8 = 32 for D = 8, M = 4"), "{page}");
    let words = |page: &str| page.split_whitespace().collect::<Vec<_>>().join(" ");
    let page = words(&folder.ok("explain coupling"));
    let count = "(0 + 4 + 1) · 16 + (16 + 1) · 16 + (16 + 1) · (8 − 4) · (3 · 8 − 1) = 1916 for D = 8, \
                 K = 8, C = 0, d = 4, H = 16";
    assert!(page.contains(count), "{page}");
    assert!(page.contains("pass at D = 8, K = 8, C = 0, d = 4, H = 16: "), "{page}");
    let page = words(&folder.ok("explain autoregressive"));
    assert!(page.contains("W = 2009 for D = 8, K = 8, H = 16"), "{page}");
    let json = folder.json("explain householder --dim 6 --arg 2 --json");
    assert_eq!(json["count"]["parameters"], 12);
    assert_eq!(json["bytes"], 48);
    assert_eq!(json["sections"][0]["title"], "Formula");
}

#[test]
fn a_page_says_what_was_measured() {
    for &layer in Layer::ALL {
        let measured = measured::of(layer).unwrap().unwrap();
        let page = Explanation::new(layer, 5, None).unwrap().page(1000);
        let at = format!("D = {}", measured.dim);
        let line = page.lines().find(|line| line.contains("Cortex-M4F")).unwrap();
        for text in [at, format!(" {} instr", measured.m4f), format!(" {} on", measured.m0)] {
            assert!(line.contains(&text), "{line}");
        }
    }
    let mut unmeasured = Explanation::new(Layer::Dct, 8, None).unwrap();
    unmeasured.measured = None;
    assert!(unmeasured.page(80).contains("not measured"));
}

#[test]
fn both_splines_tell_of_their_knots_and_who_gives_them() {
    for &layer in Layer::ALL {
        let page = Explanation::new(layer, 8, None).unwrap().page(80);
        if matches!(layer, Layer::RationalQuadratic | Layer::RationalLinear) {
            for text in [
                "Which network gives them",
                "None in a static spline",
                "softmax(a)",
                "softplus(c",
                "1e-3",
                "Tails",
            ] {
                assert!(page.contains(text), "{}: {text}", layer.name());
            }
        }
    }
}

#[test]
fn pages_keep_to_their_width_and_are_plain_in_a_pipe() {
    let folder = Folder::new();
    for width in [60, 80, 100] {
        let pages = Layer::ALL.iter().map(|l| Explanation::new(*l, 8, None).unwrap().page(width));
        let training = explain::training_page(&Worked::new(), width);
        let overview = explain::overview(&explain::lines().unwrap(), width);
        for page in pages.chain([training, overview]) {
            let plain = anstream::adapter::strip_str(&page).to_string();
            for line in plain.lines() {
                // Pictures and tables of numbers are made for 80 columns. The tilde of R̃ takes none.
                let columns = textwrap::core::display_width(line);
                assert!(columns <= width.max(80), "{columns} columns of {width}: {line}");
                assert_eq!(line, line.trim_end(), "blanks at the end");
                assert!(!line.contains(['\u{a0}', '\\']), "{line}");
            }
        }
    }
    let layers = Layer::ALL.iter().map(|layer| format!("explain {}", explain::name(*layer)));
    for line in layers.chain(["explain".into(), "explain --training".into()]) {
        assert!(!folder.ok(&line).contains('\u{1b}'), "{line}");
    }
}

#[test]
fn a_curve_rises_through_its_knots_with_their_slopes() {
    for &layer in Layer::ALL {
        let Some(curve) = Curve::of(layer) else { continue };
        let points: Vec<(f64, f64)> = curve.x.iter().copied().zip(curve.z.clone()).collect();
        assert!(curve.knots.windows(2).all(|pair| pair[0][0] < pair[1][0]), "{curve:?}");
        for [x, z, slope] in &curve.knots {
            let right = points.partition_point(|(other, _)| other <= x);
            let ((x0, z0), (x1, z1)) = (points[right - 1], points[right]);
            assert!(z0 <= *z && *z <= z1, "{}: the knot {x}, {z} is off the curve", layer.name());
            // The knot lies between two points whose chord is about as steep.
            let chord = (z1 - z0) / (x1 - x0);
            assert!((chord / slope).ln().abs() < 1.0, "{}: {chord}, {slope}", layer.name());
        }
    }
    for layer in [Layer::RationalQuadratic, Layer::RationalLinear] {
        assert_eq!(Curve::of(layer).unwrap().knots.len(), 6);
    }
    for layer in [Layer::Affine, Layer::Householder, Layer::Dct, Layer::Permutation] {
        assert_eq!(Curve::of(layer), None, "{}", layer.name());
    }
}

#[test]
fn the_training_example_adds_up() {
    let worked = Worked::new();
    let tau = core::f64::consts::TAU;
    for row in &worked.rows {
        let z = row.x.last().unwrap();
        let log_base = -0.5 * (z[0] * z[0] + z[1] * z[1]) - tau.ln();
        assert!((row.log_base - log_base).abs() < 1e-12);
        assert!((row.log_prob - row.log_base - row.ladj.iter().sum::<f64>()).abs() < 1e-12);
        for (d, z) in row.dx.last().unwrap().iter().zip(z) {
            assert!((d - z / 2.0).abs() < 1e-12, "dz = z/n");
        }
    }
    let mean = worked.rows.iter().map(|row| -row.log_prob).sum::<f64>() / 2.0;
    assert!((worked.cost - mean).abs() < 1e-12);

    let p = &worked.parameter;
    assert!(p.dtheta.abs() > 1e-3, "a gradient to speak of: {p:?}");
    assert!((p.dtheta - p.finite_difference).abs() < 1e-8, "{p:?}");
    assert!((p.dtheta - p.dslope * p.mean_slope * p.logistic).abs() < 1e-12, "{p:?}");
    let shares: f64 = worked.rows.iter().map(|row| row.dslope).sum();
    assert!((shares - p.dslope).abs() < 1e-12);
    let slope = p.mean_slope * (1e-3 + (1.0 + p.theta.exp()).ln());
    assert!((p.slope - slope).abs() < 1e-12, "{p:?}");

    let step = &worked.step;
    let moved = step.theta - p.theta;
    assert!((moved + step.learning_rate * p.dtheta.signum()).abs() < 1e-6, "{step:?}");
    assert!(step.cost < worked.cost);
}

#[test]
fn every_part_of_the_text_on_training_has_its_numbers() {
    let folder = Folder::new();
    let (page, worked) = (folder.ok("explain --training"), Worked::new());
    let head = explain::training::head();
    assert!(head.sections.len() >= 4);
    for section in &head.sections {
        let numbers = worked.numbers(&section.title);
        let numbers = numbers.unwrap_or_else(|| panic!("no numbers for {}", section.title));
        for line in numbers.lines() {
            assert!(page.contains(line.trim()), "{line}\nis not in\n{page}");
        }
    }
    let json = folder.json("explain --training --json");
    assert_eq!(json["layers"][1], "Householder");
    assert!(json["parameter"]["finite_difference"].is_f64());
}
