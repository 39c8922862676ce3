//! A table of figures: printed for people, kept as JSON for programs.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::super::or_panic;

/// The figures of one benchmark.
#[derive(Debug)]
pub struct Report {
    name: &'static str,
    rows: Vec<Vec<(&'static str, Value)>>,
}

/// How many times as much, with two digits.
pub fn ratio(figure: f64, reference: f64) -> Value {
    json!((figure / reference * 100.0).round() / 100.0)
}

impl Report {
    /// Begins a table. It is kept as `target/bench/<name>.json`.
    pub fn new(name: &'static str) -> Self {
        Self { name, rows: Vec::new() }
    }

    /// Adds a row, whose columns are named like those of the rows before, and tells of it.
    pub fn row(&mut self, cells: impl IntoIterator<Item = (&'static str, Value)>) {
        let cells: Vec<_> = cells.into_iter().collect();
        let told: Vec<String> =
            cells.iter().map(|(column, value)| format!("{column} {}", shown(value))).collect();
        eprintln!("{}", told.join(", "));
        self.rows.push(cells);
    }

    /// Prints the table and keeps it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn finish(self) {
        let Some(first) = self.rows.first() else { return };
        let columns: Vec<&str> = first.iter().map(|(column, _)| *column).collect();
        let mut lines = vec![columns.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>()];
        lines.extend(
            self.rows.iter().map(|row| row.iter().map(|(_, value)| shown(value)).collect()),
        );
        let widths: Vec<usize> = (0..columns.len())
            .map(|column| {
                lines.iter().filter_map(|line| line.get(column)?.chars().count().into()).max()
            })
            .map(Option::unwrap_or_default)
            .collect();
        for line in &lines {
            let cells: Vec<String> = line
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:>width$}", width = *width))
                .collect();
            println!("| {} |", cells.join(" | "));
        }
        let rows: Vec<Value> = self
            .rows
            .into_iter()
            .map(|row| row.into_iter().map(|(column, value)| (column.to_owned(), value)))
            .map(|row| Value::Object(row.collect::<Map<_, _>>()))
            .collect();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let report = json!({ "bench": self.name, "cores": cores, "rows": rows });
        let file = folder().join(self.name).with_extension("json");
        or_panic("making the folder for figures", std::fs::create_dir_all(folder()));
        or_panic("keeping the figures", std::fs::write(file, format!("{report:#}\n")));
    }
}

fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let ours = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target");
    target.unwrap_or_else(ours).join("bench")
}

/// As people read it: large numbers whole, small ones with three digits.
fn shown(value: &Value) -> String {
    match (value, value.as_f64()) {
        (Value::String(text), _) => text.clone(),
        (Value::Null, _) => String::new(),
        (_, Some(number)) if number.fract() == 0.0 || number.abs() >= 100.0 => {
            format!("{number:.0}")
        }
        (_, Some(number)) if number.abs() >= 10.0 => format!("{number:.1}"),
        (_, Some(number)) => format!("{number:.2}"),
        (value, None) => value.to_string(),
    }
}
