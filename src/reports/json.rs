//! Tables as JSON, for programs.

use serde_json::{Map, Value, json};

use super::Report;
use super::table::{Row, Table};

/// Everything but the plots themselves.
pub fn render(report: &Report) -> String {
    let tables: Vec<Value> = report.tables.iter().map(table).collect();
    let plots: Vec<Value> = report
        .plots
        .iter()
        .map(|plot| json!({"name": plot.name, "title": plot.title, "caption": plot.caption}))
        .collect();
    let value = json!({
        "tables": tables,
        "plots": plots,
        "missing_plots": report.missing_plots,
        "runs": report.receipts.iter().map(|receipt| &receipt.name).collect::<Vec<_>>(),
        "notes": report.notes,
    });
    format!("{value:#}\n")
}

fn table(table: &Table) -> Value {
    let groups = table.groups.iter().map(|group| {
        let rows: Vec<Value> = group.rows.iter().map(|of| row(table, of)).collect();
        json!({"title": group.title, "rows": rows})
    });
    json!({
        "name": table.name,
        "title": table.title,
        "columns": table.columns.iter().flat_map(|column| (0..column.parts.len()).map(|i| column.part_name(i)))
            .collect::<Vec<_>>(),
        "groups": groups.collect::<Vec<_>>(),
        "notes": table.notes,
    })
}

/// A row by column: numbers as numbers, bounds (`>100`) and words as text, what is absent as `null`.
fn row(table: &Table, row: &Row) -> Value {
    let (mut values, mut best) = (Map::new(), Vec::new());
    for (cell, column) in row.cells.iter().zip(&table.columns) {
        for index in 0..column.parts.len() {
            let part = cell.parts.get(index).filter(|part| !part.text.is_empty());
            let value = part.map_or(Value::Null, |part| {
                part.value.map_or_else(|| json!(part.text), |value| json!(value))
            });
            if part.is_some_and(|part| part.best) {
                best.push(column.part_name(index));
            }
            values.insert(column.part_name(index), value);
        }
    }
    let notes: Vec<&String> =
        row.cells.iter().flat_map(|cell| &cell.marks).map(|&mark| &table.marked[mark]).collect();
    json!({"ours": row.ours, "values": values, "best": best, "notes": notes})
}
