//! The page's markup. All text goes through [`escape`].

use super::tables::Table;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#111;\
background:#fff}h1,h2{line-height:1.2}svg{max-width:100%;height:auto}table{border-collapse:collapse;margin:1em 0}\
td,th{padding:.2em .7em;border-bottom:1px solid #ccc;text-align:right}td:first-child,th:first-child{text-align:left}";

pub(super) struct Page(String);

impl Page {
    pub(super) fn new(title: &str) -> Self {
        let title = escape(title);
        Self(format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        ))
    }

    pub(super) fn text(&mut self, element: &str, text: &str) {
        self.0.push_str(&format!("<{element}>{}</{element}>\n", escape(text)));
    }

    /// A plot, made by `svg`, which escapes its texts itself.
    pub(super) fn svg(&mut self, svg: &str) {
        self.0.push_str(svg);
        self.0.push('\n');
    }

    pub(super) fn table(&mut self, table: &Table) {
        let row = |cells: &[String], element: &str| {
            let cells: String = cells.iter().map(|c| format!("<{element}>{}</{element}>", escape(c))).collect();
            format!("<tr>{cells}</tr>\n")
        };
        self.0.push_str("<table>\n");
        self.0.push_str(&row(&table.head, "th"));
        table.rows.iter().for_each(|cells| self.0.push_str(&row(cells, "td")));
        self.0.push_str("</table>\n");
    }

    pub(super) fn finish(mut self) -> String {
        self.0.push_str("</body>\n</html>\n");
        self.0
    }
}

/// Text as text, in elements and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
