//! Tables as CSV: a column a number, so that nothing has to be taken apart.

use super::table::Table;

/// One table. Beside its columns: the group, whether a row is of a run of ours, and the letters of its notes.
pub fn render(table: &Table) -> String {
    let mut head = vec!["group".to_string(), "ours".to_string()];
    for column in &table.columns {
        head.extend((0..column.parts.len()).map(|part| column.part_name(part)));
    }
    head.push("notes".into());
    let mut rows = vec![head];
    for group in &table.groups {
        for row in &group.rows {
            let mut fields = vec![group.title.clone(), row.ours.to_string()];
            let mut notes: Vec<usize> =
                row.cells.iter().flat_map(|cell| cell.marks.iter().copied()).collect();
            for (cell, column) in row.cells.iter().zip(&table.columns) {
                for index in 0..column.parts.len() {
                    let text = cell.parts.get(index).map_or("", |part| part.text.as_str());
                    fields.push(
                        if column.is_number { text.trim_matches(['[', ']', ',']) } else { text }.into(),
                    );
                }
            }
            notes.sort_unstable();
            notes.dedup();
            fields.push(
                notes.into_iter().map(|note| table.marked[note].as_str()).collect::<Vec<_>>().join(" "),
            );
            rows.push(fields);
        }
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).expect("rows are equally long, and memory can be written to");
    }
    String::from_utf8(writer.into_inner().expect("memory can be written to")).expect("text stays text")
}
