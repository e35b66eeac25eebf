//! A report as Markdown, for repositories and tickets.

use super::document::{Block, Cell, Document, Section, Table, Tone};
use super::text::Text;

/// The whole file.
pub fn markdown(document: &Document) -> String {
    let mut text = format!("# {}\n\n", escape(&document.title));
    text += &format!("**{}**\n\n{}\n", cell(&document.verdict), escape(&document.lead));
    for section in &document.sections {
        text += &section_text(section);
    }
    text += &format!("\n---\n\nMade from `report.json` with SHA-256 `{}`.\n", document.json_sha256);
    text
}

fn section_text(section: &Section) -> String {
    let mut text = format!("\n## {}\n", section.title);
    for block in &section.blocks {
        text.push('\n');
        text += &match block {
            Block::Facts(facts) => facts.iter().map(|(name, value)| format!("- {name}: {}\n", cell(value))).collect(),
            Block::Table(table) => table_text(table),
            // The table after it says the same.
            Block::Figure { caption, .. } => {
                format!("*{}: see the HTML report, and the table below.*\n", escape(caption))
            }
            Block::Note(note) => format!("{}\n", cell(note)),
            Block::SignOff(lines) => sign_off(lines),
        };
    }
    if !section.controls.is_empty() {
        let names: Vec<_> = section.controls.iter().map(|control| control.name).collect();
        text += &format!("\n*Evidence for: {}*\n", names.join(" · "));
    }
    text
}

fn table_text(table: &Table) -> String {
    let mut text = format!("{}\n\n|", escape(&table.caption));
    table.columns.iter().for_each(|column| text += &format!(" {} |", column.name));
    text += "\n|";
    table.columns.iter().for_each(|column| text += if column.numeric { " ---: |" } else { " --- |" });
    text.push('\n');
    for row in &table.rows {
        text.push('|');
        row.iter().for_each(|it| text += &format!(" {} |", cell(it)));
        text.push('\n');
    }
    text
}

fn sign_off(lines: &[[Text; 3]]) -> String {
    let mut text = String::from("| Role | Name | Date | Signature |\n| --- | --- | --- | --- |\n");
    for [role, name, date] in lines {
        text += &format!("| {} | {} | {} | |\n", escape(role), escape(name), escape(date));
    }
    text
}

fn cell(cell: &Cell) -> String {
    match cell.tone {
        Tone::Bad => format!("**{}**", escape(&cell.text)),
        _ => escape(&cell.text),
    }
}

/// Characters that mean something in Markdown, or in the HTML that it may hold, stand as numbers: no reader takes these for
/// anything but text.
fn escape(text: &Text) -> String {
    let mut escaped = String::with_capacity(text.as_str().len());
    for c in text.as_str().chars() {
        match c {
            '<' | '>' | '&' | '`' | '*' | '_' | '[' | ']' | '|' | '\\' | '#' | '!' | '~' | '$' | '@' => {
                escaped.push_str(&format!("&#{};", u32::from(c)));
            }
            // A scheme becomes a link by itself.
            ':' if escaped.ends_with("http") || escaped.ends_with("https") || escaped.ends_with("mailto") => {
                escaped.push_str("&#58;");
            }
            '.' if escaped.ends_with("www") => escaped.push_str("&#46;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        for (text, shown) in [
            ("<script>alert(1)</script>", "&#60;script&#62;alert(1)&#60;/script&#62;"),
            ("a|b", "a&#124;b"),
            ("[x](http://evil)", "&#91;x&#93;(http&#58;//evil)"),
            ("line\n# heading", "line &#35; heading"),
        ] {
            assert_eq!(escape(&text.into()), shown);
        }
    }
}
