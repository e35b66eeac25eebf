//! Text out of clusters and people's files, made fit to be shown: it cannot turn, hide or break what stands around it.

use std::fmt;

/// Text without characters that act instead of being seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(String);

impl Text {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Cut to so many characters, with an ellipsis.
    pub fn cut(&self, characters: usize) -> Text {
        if self.0.chars().count() <= characters {
            return self.clone();
        }
        let kept: String = self.0.chars().take(characters.saturating_sub(1)).collect();
        Text(format!("{}…", kept.trim_end()))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<T: AsRef<str>> From<T> for Text {
    fn from(text: T) -> Text {
        let mut shown = String::with_capacity(text.as_ref().len());
        for c in text.as_ref().chars() {
            match c {
                '\n' | '\r' | '\t' => shown.push(' '),
                c if acts(c) => shown.push_str(&format!("⟨U+{:04X}⟩", u32::from(c))),
                c => shown.push(c),
            }
        }
        Text(shown)
    }
}

/// Control characters, those that change the direction of text, invisible ones, and what is no character at all.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_shown_and_what_is_seen_stays() {
        for (text, shown) in [
            ("plain <b> & 'x' 日本 𝒳 🚀", "plain <b> & 'x' 日本 𝒳 🚀"),
            ("a\nb\tc", "a b c"),
            ("safe\u{202e}cod.exe", "safe⟨U+202E⟩cod.exe"),
            ("a\u{0}\u{1b}[31m", "a⟨U+0000⟩⟨U+001B⟩[31m"),
            ("zero\u{200b}width", "zero⟨U+200B⟩width"),
        ] {
            assert_eq!(Text::from(text).as_str(), shown);
        }
        assert_eq!(Text::from("日本語テキスト").cut(4).as_str(), "日本語…");
        assert_eq!(Text::from("abcd").cut(4).as_str(), "abcd");
    }
}
