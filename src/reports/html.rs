//! The page: one file, nothing else and no network needed. Its template, style and script are in `page/`.

use base64::Engine as _;
use minijinja::{AutoEscape, Environment, context};

use super::Report;
use super::markdown::head;
use super::table::Table;

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// The page.
pub fn render(report: &Report) -> String {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.add_filter("letter", |mark: usize| Table::letter(mark));
    environment.add_template("page", TEMPLATE).expect("the template inside the program is tested");
    let tables: Vec<_> = report
        .tables
        .iter()
        .map(|table| context! { heads => table.columns.iter().map(head).collect::<Vec<_>>(), ..minijinja::Value::from_serialize(table) })
        .collect();
    let plots: Vec<_> = report
        .plots
        .iter()
        .map(|plot| {
            let svg = plot.scene.to_inline_svg(&plot.title);
            context! { name => plot.name, title => plot.title, caption => plot.caption, svg => svg }
        })
        .collect();
    let names: Vec<_> =
        report.samples.iter().map(|set| context! { name => set.name, size => set.rows.len() }).collect();
    let [regular, bold] = [crate::font::REGULAR, crate::font::BOLD]
        .map(|font| base64::engine::general_purpose::STANDARD.encode(font));
    let page = environment.get_template("page").and_then(|page| {
        page.render(context! {
            style => STYLE, script => SCRIPT, regular, bold, tables, plots, names,
            missing => report.missing_plots, notes => report.notes, receipts => report.receipts,
            samples => in_script(&serde_json::to_string(&report.samples).expect("samples can be written")),
        })
    });
    page.expect("the template inside the program is tested")
}

/// JSON that can't end the script it stands in.
fn in_script(json: &str) -> String {
    json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_cannot_end_the_script_it_stands_in() {
        assert_eq!(in_script("[\"</script><!--\"]"), "[\"\\u003c/script>\\u003c!--\"]");
    }
}
