//! `list`: what there is.

use anyhow::Result;
use candle_core::Device;
use nn_core::ParamStore;
use nn_vision::Pretrained;
use serde_json::{Value, json};

use crate::data::DataName;
use crate::model::{self, Plan};
use crate::output::{self, Align, Table, dims, thousands};
use crate::recipe;
use crate::task::Read;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to list [default: everything]
    #[arg(value_enum)]
    what: Option<What>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Models,
    Pretrained,
    Recipes,
    Datasets,
}

/// A section: its title, its table, and the same as JSON.
struct Section {
    title: &'static str,
    table: Table,
    json: Value,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let all = [What::Models, What::Pretrained, What::Recipes, What::Datasets];
    let chosen = all.into_iter().filter(|what| args.what.is_none_or(|chosen| chosen == *what));
    let sections = chosen.map(section).collect::<Result<Vec<_>>>()?;
    if args.json {
        let document = sections.into_iter().map(|section| (section.title.to_owned(), section.json));
        return output::json(&document.collect::<serde_json::Map<_, _>>());
    }
    let texts = sections.iter().map(|section| format!("{}\n{}", section.title, section.table));
    output::line(texts.collect::<Vec<_>>().join("\n\n"))
}

fn section(what: What) -> Result<Section> {
    match what {
        What::Models => models(),
        What::Pretrained => Ok(pretrained()),
        What::Recipes => recipes(),
        What::Datasets => Ok(datasets()),
    }
}

fn models() -> Result<Section> {
    let columns = [
        ("name", Align::Left),
        ("input", Align::Right),
        ("classes", Align::Right),
        ("parameters", Align::Right),
        ("source", Align::Left),
    ];
    let mut table = Table::new(&columns);
    let mut rows = Vec::new();
    for name in model::names() {
        let plan = Plan::named(name)?;
        let parameters = match nn_vision::find(name) {
            Some(entry) => entry.parameters,
            None => {
                plan.build(plan.num_classes(), ParamStore::blank(), &Device::Cpu)?.store.parameter_count()
            }
        };
        table.row([
            name.to_owned(),
            dims(&plan.input()),
            plan.num_classes().to_string(),
            thousands(parameters as u64),
            plan.paper().to_owned(),
        ]);
        rows.push(json!({
            "name": name, "input": plan.input(), "classes": plan.num_classes(), "parameters": parameters,
            "source": plan.paper(),
        }));
    }
    Ok(Section { title: "models", table, json: rows.into() })
}

fn pretrained() -> Section {
    let columns = [
        ("name", Align::Left),
        ("model", Align::Left),
        ("image", Align::Right),
        ("top-1", Align::Right),
        ("licence", Align::Left),
        ("from", Align::Left),
    ];
    let mut table = Table::new(&columns);
    let mut rows = Vec::new();
    for row in Pretrained::all() {
        let prepared = row.preprocessing;
        let accuracy = row.accuracy.map(|accuracy| format!("{accuracy:.2} %")).unwrap_or_default();
        table.row([
            row.name.to_owned(),
            row.model.to_owned(),
            format!("{} of {}", prepared.crop, prepared.shorter_side),
            accuracy,
            row.licence.to_owned(),
            row.url(),
        ]);
        rows.push(json!({
            "name": row.name, "model": row.model, "url": row.url(), "hub": row.hub, "sha256": row.sha256,
            "licence": row.licence, "accuracy": row.accuracy, "shorter_side": prepared.shorter_side,
            "crop": prepared.crop, "mean": prepared.normalise.mean, "deviation": prepared.normalise.deviation,
        }));
    }
    Section { title: "pretrained", table, json: rows.into() }
}

fn recipes() -> Result<Section> {
    let columns =
        [("name", Align::Left), ("model", Align::Left), ("data", Align::Left), ("what it does", Align::Left)];
    let mut table = Table::new(&columns);
    let mut rows = Vec::new();
    for (name, text) in recipe::EMBEDDED {
        let Read { model, data, .. } = (recipe::task_of(text, name)?.read)(text, name)?;
        let about = recipe::about(text);
        rows.push(json!({ "name": name, "model": model, "data": data, "about": about }));
        table.row([(*name).to_owned(), model, data, about]);
    }
    Ok(Section { title: "recipes", table, json: rows.into() })
}

fn datasets() -> Section {
    let columns = [
        ("name", Align::Left),
        ("image", Align::Right),
        ("classes", Align::Right),
        ("train", Align::Right),
        ("test", Align::Right),
        ("source", Align::Left),
    ];
    let count = |n: Option<usize>| n.map_or(String::new(), |n| thousands(n as u64));
    let mut table = Table::new(&columns);
    let mut rows = Vec::new();
    for facts in DataName::ALL.map(DataName::facts) {
        table.row([
            facts.name.to_owned(),
            facts.size.map_or("any".to_owned(), |size| dims(&size)),
            facts.classes.map_or(String::new(), |n| n.to_string()),
            count(facts.train),
            count(facts.test),
            facts.source.to_owned(),
        ]);
        rows.push(json!({
            "name": facts.name, "image": facts.size, "classes": facts.classes, "train": facts.train,
            "test": facts.test, "source": facts.source,
        }));
    }
    Section { title: "datasets", table, json: rows.into() }
}
