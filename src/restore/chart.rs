//! A plan drawn as a graph: as text, for Graphviz, and as a picture.

use std::fmt::Write;

use crate::config::RestorePlan;
use crate::words::xml;

/// One step.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// The key in the plan, and how long it takes: `apply, 2m`.
    pub label: String,
    /// Positions of the steps that it comes after.
    pub after: Vec<usize>,
    /// Whether it decides when all is done.
    pub critical: bool,
}

/// A plan as a graph.
#[derive(Debug, Clone)]
pub struct Chart {
    title: String,
    nodes: Vec<Node>,
    layers: Vec<Vec<usize>>,
}

/// Sizes in the picture, in pixels.
const WIDTH: usize = 210;
const HEIGHT: usize = 46;
const GAP: usize = 60;
const ROW: usize = 16;
const MARGIN: usize = 20;
const HEADING: usize = 40;

/// Longer names are cut in the picture; the whole name is in its title.
const LONGEST: usize = 28;

impl Chart {
    /// Of a plan, with its steps in its order.
    pub fn new(plan: &RestorePlan, nodes: Vec<Node>) -> Chart {
        Chart { title: plan.name.to_string(), nodes, layers: plan.order().to_vec() }
    }

    /// Whether a line between two steps decides when all is done.
    fn is_critical(&self, from: usize, to: usize) -> bool {
        self.nodes[from].critical && self.nodes[to].critical
    }

    /// One line for each step, in the order in which they can run; `*` marks those that decide when all is done.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let longest = self.nodes.iter().map(|node| node.name.chars().count()).max().unwrap_or_default();
        for (number, layer) in self.layers.iter().enumerate() {
            for step in layer {
                let node = &self.nodes[*step];
                let mark = if node.critical { '*' } else { ' ' };
                let after: Vec<&str> = node.after.iter().map(|before| self.nodes[*before].name.as_str()).collect();
                let after = if after.is_empty() { String::new() } else { format!("  after {}", after.join(", ")) };
                let (name, label) = (&node.name, &node.label);
                let _ = writeln!(text, "{:>3} {mark} {name:longest$}  {label}{after}", number + 1);
            }
        }
        text
    }

    /// In the language of Graphviz.
    pub fn dot(&self) -> String {
        let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let mut text = format!("digraph {} {{\n  rankdir=LR;\n  node [shape=box];\n", quoted(&self.title));
        for node in &self.nodes {
            let label = quoted(&format!("{}\n{}", node.name, node.label)).replace('\n', "\\n");
            let style = if node.critical { ", style=bold, color=\"#b3261e\"" } else { "" };
            let _ = writeln!(text, "  {} [label={label}{style}];", quoted(&node.name));
        }
        for (to, node) in self.nodes.iter().enumerate() {
            for from in &node.after {
                let style = if self.is_critical(*from, to) { " [style=bold, color=\"#b3261e\"]" } else { "" };
                let _ = writeln!(text, "  {} -> {}{style};", quoted(&self.nodes[*from].name), quoted(&node.name));
            }
        }
        text.push_str("}\n");
        text
    }

    /// As a picture that stands alone: steps from left to right, those that decide when all is done in red.
    pub fn svg(&self) -> String {
        let rows = self.layers.iter().map(Vec::len).max().unwrap_or_default();
        let width = MARGIN * 2 + self.layers.len() * (WIDTH + GAP) - GAP.min(self.layers.len() * GAP);
        let height = MARGIN * 2 + HEADING + rows * (HEIGHT + ROW);
        let title = xml(&format!("Plan {}", self.title));
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             role=\"img\" font-family=\"sans-serif\" font-size=\"12\">\n<title>{title}</title>\n<style>\
             .box{{fill:#f5f7fa;stroke:#5b6b7c}}.line{{fill:none;stroke:#5b6b7c}}text{{fill:#1b2733}}\
             .critical .box,.line.critical{{stroke:#b3261e;stroke-width:2.5}}</style>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
             <text x=\"{MARGIN}\" y=\"{}\" font-size=\"16\">{title}</text>\n",
            MARGIN + 16
        );
        let places = self.places();
        for (to, node) in self.nodes.iter().enumerate() {
            for from in &node.after {
                text.push_str(&line(places[*from], places[to], self.is_critical(*from, to)));
            }
        }
        for (node, (x, y)) in self.nodes.iter().zip(places) {
            text.push_str(&drawn(node, x, y));
        }
        text.push_str("</svg>\n");
        text
    }

    /// Where each step's box begins.
    fn places(&self) -> Vec<(usize, usize)> {
        let mut places = vec![(0, 0); self.nodes.len()];
        for (column, layer) in self.layers.iter().enumerate() {
            for (row, step) in layer.iter().enumerate() {
                places[*step] = (MARGIN + column * (WIDTH + GAP), MARGIN + HEADING + row * (HEIGHT + ROW));
            }
        }
        places
    }
}

fn line((from_x, from_y): (usize, usize), (to_x, to_y): (usize, usize), critical: bool) -> String {
    let (x1, y1, y2) = (from_x + WIDTH, from_y + HEIGHT / 2, to_y + HEIGHT / 2);
    let (c1, c2) = (x1 + GAP / 2, to_x.saturating_sub(GAP / 2));
    let class = if critical { "line critical" } else { "line" };
    format!("<path class=\"{class}\" d=\"M{x1},{y1} C{c1},{y1} {c2},{y2} {to_x},{y2}\"/>\n")
}

fn drawn(node: &Node, x: usize, y: usize) -> String {
    let class = if node.critical { " class=\"critical\"" } else { "" };
    let (name, label) = (xml(&cut(&node.name)), xml(&cut(&node.label)));
    let (text, first, second) = (x + 8, y + 19, y + 36);
    format!(
        "<g{class}><title>{}</title><rect class=\"box\" x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"4\"/>\
         <text x=\"{text}\" y=\"{first}\" font-weight=\"bold\">{name}</text><text x=\"{text}\" y=\"{second}\">{label}</text></g>\n",
        xml(&node.name)
    )
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        let node = |name: &str, after: &[usize], critical| Node {
            name: name.into(),
            label: "apply, 1m".into(),
            after: after.to_vec(),
            critical,
        };
        let nodes = vec![node("crds", &[], true), node("dns \"x\" <y>", &[], false), node("rest", &[0, 1], true)];
        Chart { title: "all".into(), nodes, layers: vec![vec![0, 1], vec![2]] }
    }

    #[test]
    fn the_text_says_what_comes_after_what() {
        assert_eq!(
            chart().text(),
            "  1 * crds         apply, 1m\n  1   dns \"x\" <y>  apply, 1m\n  2 * rest         apply, 1m  after crds, dns \"x\" <y>\n"
        );
    }

    #[test]
    fn the_way_that_decides_is_marked() {
        let dot = chart().dot();
        assert!(dot.contains("\"crds\" -> \"rest\" [style=bold") && dot.contains("\"dns \\\"x\\\" <y>\" -> \"rest\";"));
        let svg = chart().svg();
        assert_eq!((svg.matches("<g class=\"critical\">").count(), svg.matches("line critical").count()), (2, 1));
        assert!(svg.contains("dns &quot;x&quot; &lt;y&gt;") && !svg.contains("<y>"));
    }
}
