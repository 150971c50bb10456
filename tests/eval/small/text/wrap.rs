//! Paragraphs for a terminal of some width.

/// How many cells of a terminal a character takes: East Asian ones take two, combining marks none.
pub fn cells(character: char) -> usize {
    match character as u32 {
        0x0300..=0x036f | 0x200b..=0x200f => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xff00..=0xff60 => 2,
        _ => 1,
    }
}

/// Breaks a paragraph at blanks so that no line is longer than so many cells.
pub fn fill(paragraph: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in paragraph.split_whitespace() {
        let needed: usize = word.chars().map(cells).sum();
        if used > 0 && used + 1 + needed > most {
            lines.push(String::new());
            used = 0;
        }
        let line = lines.last_mut().unwrap();
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += needed;
    }
    lines
}

/// Takes the end of a text that is too long away and says so with three dots.
pub fn ellipsis(text: &str, most: usize) -> String {
    if text.chars().map(cells).sum::<usize>() <= most {
        return text.to_string();
    }
    let (mut kept, mut used) = (String::new(), 0);
    for character in text.chars() {
        used += cells(character);
        if used + 3 > most {
            break;
        }
        kept.push(character);
    }
    kept + "..."
}
