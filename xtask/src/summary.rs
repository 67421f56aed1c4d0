//! `summary`: a model's layers as a tree, with shapes, parameters, multiply-adds and memory.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use nn_core::ctx::{Event, Observer};
use nn_core::{Ctx, Layer, ParamStore};
use serde::Serialize;

use crate::failure::{Advise, failed};
use crate::model::{Model, Plan};
use crate::output::{self, Align, Table};
use crate::subject;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A model's name, a run's folder, or the name of a recipe for pictures
    model: String,
    /// Shape of the input [default: one image of the size the model was made for]
    #[arg(long, value_name = "B,C,H,W", value_delimiter = ',')]
    input: Vec<usize>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// A layer that was called.
#[derive(Debug, Serialize)]
struct Node {
    path: String,
    kind: &'static str,
    output: Vec<usize>,
    /// Of its own, without those of the layers inside.
    parameters: usize,
    multiply_adds: u64,
    /// Whether it called layers that are rows of their own.
    #[serde(skip)]
    holds_others: bool,
}

#[derive(Serialize)]
struct Summary {
    model: String,
    input: Vec<usize>,
    layers: Vec<Node>,
    output: Vec<usize>,
    parameters: usize,
    multiply_adds: u64,
    parameter_bytes: u64,
    activation_bytes: u64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let plan = subject::plan(&args.model)?;
    let input = if args.input.is_empty() {
        let [c, h, w] = plan.input();
        vec![1, c, h, w]
    } else {
        args.input.clone()
    };
    let summary = summarise(&plan, input)?;
    if args.json { output::json(&summary) } else { output::line(show(&summary)) }
}

fn summarise(plan: &Plan, input: Vec<usize>) -> Result<Summary> {
    // The numbers are f32, and a typing mistake must not take the machine's memory.
    let elements = input.iter().try_fold(1usize, |n, &side| n.checked_mul(side)).filter(|&n| n <= 1 << 30);
    if elements.is_none() {
        return Err(failed(format!("an input of {} is too large", output::dims(&input))));
    }
    let model = plan.build(plan.num_classes(), ParamStore::blank(), &Device::Cpu)?;
    let x = Tensor::zeros(input.as_slice(), DType::F32, &Device::Cpu)?;
    let nodes = Nodes::default();
    let y = model.layer.call(&x, &Ctx::eval().observed(&nodes)).with_context(|| {
        let expected = output::dims(&plan.input());
        format!("{} does not take an input of {}", plan.name, output::dims(&input))
            + &format!("; it was made for B×{expected}")
    });
    let y = y.advise("give --input as B,C,H,W, for example --input 1,1,28,28")?;
    let mut layers = nodes.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    assign_parameters(&mut layers, &model);
    layers.extend(idle(&layers, &model));
    let floats = |n: usize| 4 * n as u64;
    let outputs =
        layers.iter().filter(|node| !node.holds_others).map(|node| node.output.iter().product::<usize>());
    Ok(Summary {
        model: plan.name.clone(),
        output: y.dims().to_vec(),
        parameters: model.store.parameter_count(),
        multiply_adds: layers.iter().map(|node| node.multiply_adds).sum(),
        parameter_bytes: model.store.tensors().values().map(|t| floats(t.elem_count())).sum(),
        activation_bytes: floats(x.elem_count() + outputs.sum::<usize>()),
        input,
        layers,
    })
}

/// Collects the calls of a pass, each layer before the ones inside it.
#[derive(Default)]
struct Nodes(Mutex<Vec<Node>>);

impl Observer for Nodes {
    fn observe(&self, event: &Event<'_>) {
        let path = event.path();
        let mut nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Inner layers report first: they are the last nodes, and their paths go on from this one.
        let inside = format!("{path}.");
        let first = nodes.iter().rposition(|node| !node.path.starts_with(&inside)).map_or(0, |i| i + 1);
        let node = Node {
            kind: event.layer.kind(),
            output: event.output.dims().to_vec(),
            parameters: 0,
            multiply_adds: event.layer.multiply_adds(event.input, event.output),
            holds_others: first < nodes.len(),
            path,
        };
        nodes.insert(first, node);
    }
}

/// Gives each parameter to the innermost layer on its path; a layer called twice owns it once.
fn assign_parameters(layers: &mut [Node], model: &Model) {
    for (name, var) in model.store.parameters() {
        let owns = |node: &Node| name.strip_prefix(&node.path).is_some_and(|rest| rest.starts_with('.'));
        let owner = layers.iter_mut().rev().filter(|node| owns(node)).max_by_key(|node| node.path.len());
        if let Some(owner) = owner {
            owner.parameters += var.elem_count();
        }
    }
}

/// The parameters of layers that evaluation does not call: auxiliary heads.
fn idle(layers: &[Node], model: &Model) -> Option<Node> {
    let called: usize = layers.iter().map(|node| node.parameters).sum();
    let parameters = model.store.parameter_count() - called;
    (parameters > 0).then(|| Node {
        path: "heads that training alone calls".to_owned(),
        kind: "",
        output: Vec::new(),
        parameters,
        multiply_adds: 0,
        holds_others: false,
    })
}

fn show(summary: &Summary) -> String {
    let columns = [
        ("layer", Align::Left),
        ("kind", Align::Left),
        ("output", Align::Left),
        ("parameters", Align::Right),
        ("multiply-adds", Align::Right),
    ];
    let mut table = Table::new(&columns);
    let count = |n: u64| if n == 0 { String::new() } else { output::thousands(n) };
    table.row(["input".to_owned(), String::new(), output::dims(&summary.input)]);
    for node in &summary.layers {
        table.row([
            label(node, &summary.layers),
            node.kind.to_owned(),
            output::dims(&node.output),
            count(node.parameters as u64),
            count(node.multiply_adds),
        ]);
    }
    let total = [
        "total".to_owned(),
        String::new(),
        output::dims(&summary.output),
        output::thousands(summary.parameters as u64),
        output::thousands(summary.multiply_adds),
    ];
    table.row(total);
    let bytes = [summary.parameter_bytes, summary.activation_bytes].map(output::mebibytes);
    format!(
        "{}\n\n{table}\n\n  memory in f32: parameters {}, activations {}",
        summary.model, bytes[0], bytes[1]
    )
}

/// The part of the path below the row it hangs on, indented.
fn label(node: &Node, layers: &[Node]) -> String {
    let above = |other: &&Node| {
        other.holds_others && node.path.strip_prefix(&other.path).is_some_and(|rest| rest.starts_with('.'))
    };
    let parents: Vec<&Node> = layers.iter().filter(above).collect();
    let deepest = parents.iter().map(|parent| parent.path.len() + 1).max().unwrap_or(0);
    let mut paths: Vec<&str> = parents.iter().map(|parent| parent.path.as_str()).collect();
    paths.dedup();
    format!("{}{}", "  ".repeat(paths.len()), &node.path[deepest..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(path: &str, holds_others: bool) -> Node {
        let path = path.to_owned();
        Node { path, kind: "K", output: vec![1], parameters: 0, multiply_adds: 0, holds_others }
    }

    #[test]
    fn a_layer_stands_before_the_layers_inside_it() -> Result<()> {
        let nodes = Nodes::default();
        let x = Tensor::zeros(1, DType::F32, &Device::Cpu)?;
        let block = |x: &Tensor, ctx: &Ctx| {
            use nn_core::Through;
            x.through("a", &Tensor::relu, ctx)?.through("b", &Tensor::relu, ctx)
        };
        struct Block<F>(F);
        impl<F: Fn(&Tensor, &Ctx) -> candle_core::Result<Tensor> + Send + Sync> nn_core::Layer for Block<F> {
            fn call(&self, x: &Tensor, ctx: &Ctx) -> candle_core::Result<Tensor> {
                (self.0)(x, ctx)
            }
        }
        use nn_core::Through;
        let ctx = Ctx::eval().observed(&nodes);
        x.through("one", &Block(block), &ctx)?.through("two", &Block(block), &ctx)?;
        let nodes = nodes.0.into_inner().expect("no thread panicked");
        let paths: Vec<&str> = nodes.iter().map(|node| node.path.as_str()).collect();
        assert_eq!(paths, ["one", "one.a", "one.b", "two", "two.a", "two.b"]);
        assert!(nodes[0].holds_others && !nodes[1].holds_others);
        Ok(())
    }

    #[test]
    fn labels_hang_below_the_layer_that_holds_them() {
        let layers = [node("a", true), node("a.0", true), node("a.0.conv", false), node("b.0", false)];
        let labels: Vec<String> = layers.iter().map(|node| label(node, &layers)).collect();
        assert_eq!(labels, ["a", "  0", "    conv", "b.0"]);
    }

    #[test]
    fn every_parameter_has_an_owner_and_every_model_a_summary() -> Result<()> {
        for name in crate::model::names() {
            let plan = Plan::named(name)?;
            let [c, h, w] = plan.input();
            let summary = summarise(&plan, vec![2, c, h, w])?;
            let owned: usize = summary.layers.iter().map(|node| node.parameters).sum();
            assert_eq!(owned, summary.parameters, "{name}");
            assert_eq!(summary.output[..2], [2, plan.num_classes()]);
            assert!(summary.multiply_adds > summary.parameters as u64, "{name}");
        }
        assert!(summarise(&Plan::named("lenet5")?, vec![1, 3, 28, 28]).is_err());
        assert!(summarise(&Plan::named("lenet5")?, vec![usize::MAX, 2, 28, 28]).is_err());
        Ok(())
    }
}
